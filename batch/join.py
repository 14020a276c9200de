"""The join by id over everything that is live: new records, and what earlier snapshots left open.

The rule is the stream's (`runway_streams.ground_truth.join`), with the whole log in sight: duplicates are dropped, heads
are matched in log order, and an outcome up to 7 days away is `late` once nothing can join it on time any more, which is
LIFE after the later of the two (at once in a final snapshot). Nearly all ids have one prediction and at most one outcome and are
joined in one statement; the others are found by their hash and paired one id at a time. Where memory is short there is a
statement for each share of the partitions and ids, and one more for pairs whose halves lie in different partitions.
"""
# ruff: noqa: S608 - statements are made of our own names and numbers.

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

import pyarrow as pa

from batch.engine import Engine, Written
from batch.segments import OUTCOMES, PREDICTIONS
from batch.statements import CARRY, statement
from runway_streams.times import LIFE

log = logging.getLogger(__name__)

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
ROUNDS = 64
"""Heads of one id lie more than LIFE apart, so this many of them span two months of log in one night."""

Head = tuple[int, int, int]
"""Log time, partition and offset of a head."""


def mark_duplicates(db: Engine) -> dict[str, int]:
    """Makes `duplicate_TOPIC` (log_partition, log_offset): new records within LIFE of an earlier head of their id."""
    db.table("head", _no_rows("'' AS topic, '' AS id, 0 AS log_partition, 0::BIGINT AS log_offset, true AS is_new"))
    return {topic: _mark(db, topic) for topic in TOPICS}


def _mark(db: Engine, topic: str) -> int:
    duplicates = f"duplicate_{topic}"
    db.table(duplicates, _no_rows("0 AS log_partition, 0::BIGINT AS log_offset"))
    if not db.find_repeated_ids(topic):
        return 0
    db.table("record", db.text("repeated_records", topic=topic))
    for _ in range(ROUNDS):
        if not db.count("record"):
            break
        db.table("decided", db.text("copies"))
        db.add(duplicates, "SELECT log_partition, log_offset FROM decided WHERE verdict = 'duplicate' AND is_new")
        db.add("head", f"SELECT '{topic}', id, log_partition, log_offset, is_new FROM decided WHERE verdict = 'head'")
        db.table("record", db.text("undecided"))
    return db.count(duplicates)


def _no_rows(columns: str) -> str:
    return f"SELECT * FROM (SELECT {columns}) AS one WHERE false"


def find_live(db: Engine, duplicates: Mapping[str, int]) -> None:
    """Makes `live_TOPIC`: heads that may still find a partner; and `single_TOPIC`, those of ids that have only one.
    `duplicates` is their number by topic."""
    for topic, flag in (("predictions", "counted"), ("outcomes", "known")):
        drop = f"ANTI JOIN duplicate_{topic} USING (log_partition, log_offset)" if duplicates[topic] else ""
        db.view(
            f"live_{topic}",
            f"""SELECT *, false AS {flag} FROM new_{topic} {drop}
            UNION ALL SELECT *, true FROM open_{topic}""",
        )
    several = " UNION ".join(db.text("ids_of_several", topic=topic) for topic in TOPICS)
    db.table("id_of_several", several)
    skip = "ANTI JOIN id_of_several USING (id)" if db.count("id_of_several") else ""
    for topic in TOPICS:
        db.view(f"single_{topic}", f"SELECT * FROM live_{topic} {skip}")


def join(db: Engine, final_before: int, stem: str) -> list[Written]:
    """Writes ground truth into files of the lake whose paths begin with `stem`, and makes the view `ground_truth` of it.
    Pairs beyond LIFE are final if both lie more than LIFE before `final_before` (log time in ms)."""
    db.table("series", db.text("series"))
    db.enumerate_names("series", ("model", "version"))
    writer = _Writer(db, final_before, stem)
    shares = db.shares_to_join(*(f"{part}_{topic}" for topic in TOPICS for part in ("new", "open")))
    found = [
        one for i, share in enumerate(shares) for one in writer.joined("joined_by_id", f"-share-{i}" if i else "", share)
    ]
    if len(shares) > 1:
        found = _join_across(db, writer, found)
    if db.count("id_of_several"):
        _pair_several(db, final_before)
        found += writer.joined("joined_of_several", "-several")
    db.files("ground_truth", [one.path for one in found], GROUND_TRUTH)
    return found


class _Writer:
    """Writes a run's ground truth, part by part."""

    def __init__(self, db: Engine, final_before: int, stem: str):
        self._db, self._final_before, self._stem = db, final_before, stem
        self._scored = db.number(
            "SELECT count(*) FROM (SELECT 1 FROM live_predictions WHERE scores IS NOT NULL LIMIT 1) AS one"
        )

    def joined(self, how: str, part: str, share: str = "true") -> list[Written]:
        """The rows that a statement joins."""
        template = statement(how).template
        return self.rows(self._db.text("ground_truth", joined=template, final_before=self._final_before, share=share), part)

    def rows(self, query: str, part: str) -> list[Written]:
        """The rows of a query."""
        # A column of maps costs a tenth of the join, even if all of them are null.
        query = query if self._scored else self._db.text("without_scores", query=query)
        # Where a file holds nothing but outcomes without a prediction, its times are theirs.
        return self._db.scatter(query, self._stem + part, ("time", "outcome_time"))


def _join_across(db: Engine, writer: _Writer, found: list[Written]) -> list[Written]:
    """Joins what shares of partitions have kept apart: `found`, or new files in their place."""
    db.files("ground_truth_of_shares", [one.path for one in found], GROUND_TRUTH)
    db.table("id_across", db.text("ids_across"))
    ids = db.count("id_across")
    if not ids:
        return found
    log.warning(
        "%d ids have their prediction in one partition and their outcome in another: the batch joins them, and takes longer. "
        "Let the producers of both topics use the same partitioner.",
        ids,
    )
    others = "SELECT one.* FROM ground_truth_of_shares AS one ANTI JOIN id_across ON one.id = id_across.id"
    return writer.rows(others, "-others") + writer.joined("joined_by_id", "-across", "id IN (SELECT id FROM id_across)")


def _pair_several(db: Engine, final_before: int) -> None:
    heads = {topic: _heads_of_several(db, topic) for topic in TOPICS}
    pairs = [
        (*prediction[1:], *outcome[1:])
        for id, predictions in heads["predictions"].items()
        for prediction, outcome in pair_heads(predictions, heads["outcomes"].get(id, ()), final_before)
    ]
    columns = list(zip(*pairs, strict=True)) or [(), (), (), ()]
    names = ("log_partition", "log_offset", "outcome_partition", "outcome_offset")
    types = (pa.int32(), pa.int64(), pa.int32(), pa.int64())
    db.load("pair_of_several", pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)}))


def _heads_of_several(db: Engine, topic: str) -> dict[str, list[Head]]:
    heads: dict[str, list[Head]] = defaultdict(list)
    query = f"SELECT id, log_time, log_partition, log_offset FROM live_{topic} SEMI JOIN id_of_several USING (id)"
    for id, log_time, partition, offset in db.rows(query):
        heads[id].append((log_time, partition, offset))
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
