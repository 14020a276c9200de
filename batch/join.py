"""The join by id over everything that is live: new records, and what earlier snapshots left open.

The rule is the stream's (`runway_streams.ground_truth.join`), with the whole log in sight: duplicates are dropped, heads
are matched in log order, and an outcome up to 7 days away is `late` once nothing can join it on time any more, which is
LIFE after the later of the two (at once in a final snapshot). Nearly all ids have one prediction and at most one outcome and are
joined in one statement; the others are found by their hash and paired one id at a time.
"""
# ruff: noqa: S608 - statements are made of our own names and numbers; what is foreign is quoted.

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from batch.database import CARRY, count, create, statement, text, view_by_name
from batch.segments import OUTCOMES, PREDICTIONS
from runway_streams.times import LIFE

TOPICS = ("predictions", "outcomes")
PREDICTION_COLUMNS = tuple(
    name for name in PREDICTIONS.names if name not in ("level", "entity_id", "features", "feature_timestamps", "digest")
)
"""What the batch reads of predictions; the rest stays in the segments, where an export finds it."""
OUTCOME_COLUMNS = tuple(name for name in OUTCOMES.names if name != "digest")
GROUND_TRUTH = pa.schema(
    [PREDICTIONS.field(name) for name in PREDICTION_COLUMNS]
    + [("counted", pa.bool_()), ("outcome_partition", pa.int32()), ("outcome_offset", pa.int64())]
    + [("outcome_log_time", pa.int64()), ("outcome_time", pa.int64())]
    + [("outcome_label", pa.string()), ("outcome_value", pa.float64()), ("outcome_known", pa.bool_())]
    + [("series", pa.int32()), ("status", pa.string())]
)
"""Ground truth as snapshots hold it. `counted`: an earlier snapshot has the prediction already, without its
outcome. `series` is of no use outside the run that wrote it."""
IDS_AT_ONCE = 32_000_000
"""Ids whose hashes are held in memory at a time (8 bytes each); more of them take more passes."""
ROUNDS = 64
"""Heads of one id lie more than LIFE apart, so this many of them span two months of log in one night."""

Head = tuple[int, int, int]
"""Log time, partition and offset of a head."""


def mark_duplicates(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Makes `duplicate_TOPIC` (log_partition, log_offset): new records within LIFE of an earlier head of their id."""
    db.execute("CREATE TABLE head (topic VARCHAR, id VARCHAR, log_partition INT, log_offset BIGINT, is_new BOOL)")
    return {topic: _mark(db, topic) for topic in TOPICS}


def _mark(db: duckdb.DuckDBPyConnection, topic: str) -> int:
    db.execute(f"CREATE TABLE duplicate_{topic} (log_partition INT, log_offset BIGINT)")
    repeated = _repeated_hashes(db, topic)
    if not len(repeated):
        return 0
    db.register("repeated_hash", pa.table({"hash": repeated}))
    undecided = create(db, "record", "repeated_records", topic=topic)
    for _ in range(ROUNDS):
        if not undecided:
            break
        create(db, "decided", "copies")
        db.execute(f"""INSERT INTO duplicate_{topic} SELECT log_partition, log_offset
            FROM decided WHERE verdict = 'duplicate' AND is_new""")
        db.execute(f"""INSERT INTO head SELECT '{topic}', id, log_partition, log_offset, is_new
            FROM decided WHERE verdict = 'head'""")
        undecided = count(
            db, "CREATE OR REPLACE TABLE record AS SELECT * EXCLUDE (verdict) FROM decided WHERE verdict = 'undecided'"
        )
    return count(db, f"SELECT count(*) FROM duplicate_{topic}")


def _repeated_hashes(db: duckdb.DuckDBPyConnection, topic: str) -> np.ndarray:
    ids = f"(SELECT id FROM new_{topic} UNION ALL SELECT id FROM earlier_{topic})"
    # Whole files are counted by their footers; some of these ids are left out, so this is a bound.
    files = " + ".join(f"(SELECT count(*) FROM {view}_{topic})" for view in ("new", "recent", "carried"))
    passes = count(db, f"SELECT {files}") // IDS_AT_ONCE + 1
    where = [f"WHERE hash(id) % {passes} = {i}" for i in range(passes)] if passes > 1 else [""]
    found = [_repeated(db, f"SELECT hash(id) AS h FROM {ids} {one}") for one in where]
    return np.concatenate(found)


def _repeated(db: duckdb.DuckDBPyConnection, query: str) -> np.ndarray:
    hashes = db.execute(query).fetchnumpy()["h"]
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def find_live(db: duckdb.DuckDBPyConnection) -> None:
    """Makes `live_TOPIC`: heads that may still find a partner; and `single_TOPIC`, those of ids that have only one."""
    for topic, flag in (("predictions", "counted"), ("outcomes", "known")):
        duplicates = count(db, f"SELECT count(*) FROM duplicate_{topic}")
        drop = f"ANTI JOIN duplicate_{topic} USING (log_partition, log_offset)" if duplicates else ""
        db.execute(f"""CREATE VIEW live_{topic} AS SELECT *, false AS {flag} FROM new_{topic} {drop}
            UNION ALL SELECT *, true FROM open_{topic}""")
    several = " UNION ".join(text("ids_of_several", topic=topic) for topic in TOPICS)
    found = count(db, f"CREATE TABLE id_of_several AS {several}")
    skip = "ANTI JOIN id_of_several USING (id)" if found else ""
    for topic in TOPICS:
        db.execute(f"CREATE VIEW single_{topic} AS SELECT * FROM live_{topic} {skip}")


def join(db: duckdb.DuckDBPyConnection, final_before: int, folder: Path) -> int:
    """Writes ground truth below `folder` and makes the view `ground_truth` of it; returns its rows. Pairs beyond LIFE
    are final if both lie more than LIFE before `final_before` (log time in ms)."""
    create(db, "series", "series")
    _enumerate_names(db)
    folder.mkdir(parents=True)
    rows = _write(db, "joined_by_id", final_before, folder / "all")
    if count(db, "SELECT count(*) FROM id_of_several"):
        _pair_several(db, final_before)
        rows += _write(db, "joined_of_several", final_before, folder / "several")
    view_by_name(db, "ground_truth", sorted(folder.rglob("*.parquet")), GROUND_TRUTH, folder.parent)
    return rows


def _enumerate_names(db: duckdb.DuckDBPyConnection) -> None:
    """Makes enums of the names in `series`, and the enum `pair_status`. A sort moves their numbers instead of texts, and
    a Parquet file takes them as its dictionary without hashing each row's text."""
    for name in ("model", "version"):
        # An enum must not be empty, a night may be.
        db.execute(f"CREATE TYPE {name}_name AS ENUM (SELECT {name} FROM series UNION SELECT '' ORDER BY 1)")
        db.execute(f"ALTER TABLE series ALTER {name} TYPE {name}_name")
    db.execute("CREATE TYPE pair_status AS ENUM ('unmatched', 'early', 'joined', 'late')")


def _write(db: duckdb.DuckDBPyConnection, joined: str, final_before: int, folder: Path) -> int:
    query = text("ground_truth", joined=statement(joined).template, final_before=final_before)
    if not count(db, "SELECT count(*) FROM (SELECT 1 FROM live_predictions WHERE scores IS NOT NULL LIMIT 1)"):
        # A column of maps costs a tenth of the join, even if all of them are null.
        query = f"SELECT * EXCLUDE (scores) FROM ({query})"
    options = "FORMAT parquet, PER_THREAD_OUTPUT, DICTIONARY_SIZE_LIMIT 5000, COMPRESSION snappy"
    return count(db, f"COPY ({query}) TO '{folder}' ({options})")


def _pair_several(db: duckdb.DuckDBPyConnection, final_before: int) -> None:
    heads = {topic: _heads_of_several(db, topic) for topic in TOPICS}
    pairs = [
        (*prediction[1:], *outcome[1:])
        for id, predictions in heads["predictions"].items()
        for prediction, outcome in pair_heads(predictions, heads["outcomes"].get(id, ()), final_before)
    ]
    columns = list(zip(*pairs, strict=True)) or [(), (), (), ()]
    names = ("log_partition", "log_offset", "outcome_partition", "outcome_offset")
    types = (pa.int32(), pa.int64(), pa.int32(), pa.int64())
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    db.register("pair_of_several", table)


def _heads_of_several(db: duckdb.DuckDBPyConnection, topic: str) -> dict[str, list[Head]]:
    heads: dict[str, list[Head]] = defaultdict(list)
    query = f"SELECT id, log_time, log_partition, log_offset FROM live_{topic} SEMI JOIN id_of_several USING (id)"
    for id, *head in db.execute(query).fetchall():
        heads[id].append(tuple(head))
    return heads


def pair_heads(predictions: Iterable[Head], outcomes: Iterable[Head], final_before: int) -> list[tuple[Head, Head]]:
    """The pairs of one id's heads: the earliest with the earliest within LIFE; then, of what is left and final, the
    earliest with the earliest within 7 days.

    >>> day = 24 * 3_600_000
    >>> pair_heads([(0, 0, 1), (2 * day, 0, 2)], [(2 * day, 0, 7), (4 * day, 0, 8)], 6 * day)
    [((172800000, 0, 2), (172800000, 0, 7)), ((0, 0, 1), (345600000, 0, 8))]
    """
    near, left_predictions, left_outcomes = _match(sorted(predictions), sorted(outcomes), LIFE)
    far, _, _ = _match(_final(left_predictions, final_before), _final(left_outcomes, final_before), CARRY)
    return near + far


def _final(heads: list[Head], before: int) -> list[Head]:
    return [head for head in heads if head[0] + LIFE < before]


def _match(
    predictions: list[Head], outcomes: list[Head], reach: int
) -> tuple[list[tuple[Head, Head]], list[Head], list[Head]]:
    pairs: list[tuple[Head, Head]] = []
    i = j = 0
    while i < len(predictions) and j < len(outcomes):
        apart = outcomes[j][0] - predictions[i][0]
        if abs(apart) <= reach:
            pairs.append((predictions[i], outcomes[j]))
        i += apart >= -reach
        j += apart <= reach
    matched_predictions, matched_outcomes = {p for p, _ in pairs}, {o for _, o in pairs}
    return (
        pairs,
        [head for head in predictions if head not in matched_predictions],
        [head for head in outcomes if head not in matched_outcomes],
    )
