"""Event files: what each kind of file hands to the stream's decoder, and what it says where it cannot."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.event_files import BATCH, read_events
from runway_streams.errors import ConfigError
from runway_streams.ground_truth.events import read_outcomes, read_predictions
from runway_streams.ground_truth.settings import SettingsHistory

CELLS = [
    ("0.7", 0.7),
    ("1", 1),
    ("-2e3", -2000.0),
    ("true", True),
    ("True", True),
    ("FALSE", False),
    ("late", "late"),
    ("toast", "toast"),
    ("007", "007"),
    ("nan", "nan"),
    ("null", "null"),
    ("[1]", "[1]"),
    ("{", "{"),
    ("1 apple", "1 apple"),
    ('"0.7"', "0.7"),
    ('"quoted" once', '"quoted" once'),
    ('{"score": 0.9}', {"score": 0.9}),
    ('{"value": 3, "interval": {"lower": 1, "upper": 5}}', {"value": 3, "interval": {"lower": 1, "upper": 5}}),
]


def table(path: Path, columns: dict[str, list]) -> Path:
    """The columns as CSV or as Parquet."""
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    if path.suffix == ".csv":
        query = f"COPY (FROM '{path.with_suffix('.parquet')}') TO '{path}'"
        duckdb.execute(query)
    return path


def lines(path: Path, *events: dict | str) -> Path:
    path.write_text("\n".join(event if isinstance(event, str) else json.dumps(event) for event in events) + "\n")
    return path


def given(path: Path, topic: str = "predictions") -> list[dict]:
    return [json.loads(value) for batch in read_events(path, topic) for value in batch.values]


def log_times(path: Path, topic: str = "predictions") -> list[int]:
    return [time for batch in read_events(path, topic) for time in batch.timestamps]


def dead_letters(path: Path, topic: str = "predictions") -> list[str]:
    """The reasons of what the stream would not take."""
    found = []
    for batch in read_events(path, topic):
        if topic == "predictions":
            _, bad = read_predictions(batch.values, batch.offsets, batch.timestamps, SettingsHistory())
        else:
            _, bad = read_outcomes(batch.values, batch.offsets, batch.timestamps)
        found += [event.reason for event in bad]
    return found


def prediction(**fields) -> dict:
    return {"prediction_id": "p", "model_id": "m", "timestamp": 1_700_000_000, "prediction": 0.7} | fields


def columns(**lists: list) -> dict[str, list]:
    n = max(map(len, lists.values()))
    ids = {
        "prediction_id": [f"p{i}" for i in range(n)],
        "model_id": ["m"] * n,
        "timestamp": [1_700_000_000 + i for i in range(n)],
    }
    return ids | lists


# -- missing values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_null_is_a_missing_field(tmp_path: Path, kind: str):
    file = table(
        tmp_path / f"p{kind}",
        columns(prediction=[0.7, 0.2], model_version=["v1", None], entity_id=[None, "e"], segment=[None, '{"a": "x"}']),
    )
    first, second = given(file)
    assert first == prediction(prediction_id="p0", model_version="v1")
    assert second == prediction(
        prediction_id="p1", timestamp=1_700_000_001, prediction=0.2, entity_id="e", segment={"a": "x"}
    )


def test_null_members_are_missing_too(tmp_path: Path):
    said = [
        {"score": 0.7, "interval": None},
        {"score": None, "interval": {"lower": 1.0, "upper": 2.0}},
        {"score": float("nan")},
    ]
    file = table(tmp_path / "p.parquet", columns(prediction=said, segment=[{"a": "x"}, {"b": "y"}, None]))
    first, second, third = given(file)
    assert (first["prediction"], first["segment"]) == ({"score": 0.7}, {"a": "x"})
    assert (second["prediction"], second["segment"]) == ({"interval": {"lower": 1, "upper": 2}}, {"b": "y"})
    assert not {"prediction", "segment"} & set(third), "a struct of nothing is missing as well"


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_missing_label_leaves_the_score(tmp_path: Path, kind: str):
    file = table(tmp_path / f"p{kind}", columns(label=["1", None], score=[0.7, 0.2]))
    assert [event["prediction"] for event in given(file)] == [{"label": 1, "score": 0.7}, {"score": 0.2}]


def test_what_is_not_finite_is_a_dead_letter_and_not_missing(tmp_path: Path):
    file = table(tmp_path / "p.parquet", columns(label=["1", "1"], score=[0.7, float("inf")]))
    assert dead_letters(file) == ["not_finite"]


# -- text cells -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_text_is_read_as_a_number_a_boolean_or_an_object_or_else_stays_one(tmp_path: Path, kind: str):
    texts, values = zip(*CELLS, strict=True)
    predictions = table(tmp_path / f"p{kind}", columns(prediction=list(texts)))
    assert [event["prediction"] for event in given(predictions)] == list(values)
    outcomes = table(tmp_path / f"o{kind}", columns(actual_outcome=list(texts)))
    assert [event["actual_outcome"] for event in given(outcomes, "outcomes")] == list(values)


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_ids_and_versions_stay_texts(tmp_path: Path, kind: str):
    file = table(tmp_path / f"p{kind}", columns(prediction=[0.7, 0.2], prediction_id=[7, 8], model_version=["1.0", "007"]))
    assert [event["prediction_id"] for event in given(file)] == ["7", "8"]
    assert [event["model_version"] for event in given(file)] == ["1.0", "007"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_another_delimiter_and_a_byte_order_mark(tmp_path: Path, delimiter: str):
    rows = ["prediction_id,model_id,timestamp,score,note", "p1,m,1700000000,0.5,"]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(rows).replace(",", delimiter), encoding="utf-8-sig")
    assert given(path) == [
        {"prediction_id": "p1", "model_id": "m", "timestamp": 1_700_000_000, "prediction": {"score": 0.5}}
    ]


# -- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20.500Z",
        "2023-11-14 22:13:20.5",
        "2023-11-15T03:43:20.500+05:30",
        "2023-11-14 22:13:20.5+00",
        "1700000000.5",
    ],
)
def test_times_in_csv(tmp_path: Path, text: str):
    file = table(tmp_path / "p.csv", columns(prediction=[0.7], timestamp=[text]))
    assert log_times(file) == [1_700_000_000_500]
    assert dead_letters(file) == []


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_timestamps_in_parquet(tmp_path: Path, zone: str | None):
    times = pa.array([1_700_000_000_500_700], type=pa.timestamp("us", tz=zone))
    taken = [{"f": datetime(2023, 1, 1)}]  # noqa: DTZ001 - a TIMESTAMP without a zone
    file = table(tmp_path / "p.parquet", columns(prediction=[0.7], timestamp=times, feature_timestamps=taken))
    assert log_times(file) == [1_700_000_000_501], "rounded as in the stream"
    assert dead_letters(file) == []


def test_a_date_is_its_midnight(tmp_path: Path):
    file = table(tmp_path / "p.parquet", columns(prediction=[0.7], timestamp=[date(2023, 11, 14)]))
    assert log_times(file) == [1_699_920_000_000]


def test_decimals_are_numbers(tmp_path: Path):
    file = table(tmp_path / "p.parquet", columns(prediction=[Decimal("0.70")]))
    assert given(file)[0]["prediction"] == 0.7


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_log_time_is_the_column_or_else_the_events_own_time(tmp_path: Path, kind: str):
    file = table(tmp_path / f"p{kind}", columns(prediction=[0.7, 0.2], log_time=[1_800_000_000_000, None]))
    assert log_times(file) == [1_700_000_001_000, 1_800_000_000_000]
    assert all("log_time" not in event for event in given(file)), "no producer writes it into the event"


def test_log_time_in_lines(tmp_path: Path):
    file = lines(tmp_path / "p.ndjson", prediction(log_time=1_800_000_000_000), prediction(log_time=None), prediction())
    assert log_times(file) == [1_700_000_000_000] * 2 + [1_800_000_000_000]
    assert given(file)[2] == prediction()


def test_events_of_one_time_keep_their_order_in_the_file(tmp_path: Path):
    n = 2 * BATCH + 5
    file = table(
        tmp_path / "p.parquet",
        columns(prediction=[float(i) for i in range(n)], timestamp=[1_700_000_000 - i // BATCH for i in range(n)]),
    )
    assert [event["prediction"] for event in given(file)] == [*range(2 * BATCH, n), *range(BATCH, 2 * BATCH), *range(BATCH)]


def test_a_time_beyond_all_dates_is_a_dead_letter(tmp_path: Path):
    assert dead_letters(
        lines(tmp_path / "p.ndjson", prediction(timestamp=1e300), prediction(timestamp=10**30), prediction())
    ) == ["ahead", "ahead"]


# -- lines ----------------------------------------------------------------------------------------------------------


def test_a_line_is_the_event_as_it_stands(tmp_path: Path):
    """Lines need not be alike: notations of time, keys, forms and fields differ by line."""
    events = [
        json.dumps(prediction(segment={"a": "x"}, prediction={"score": 0.7}, timestamp="2023-11-14T22:13:20Z")),
        json.dumps(prediction(segment={"b": "x"}, prediction={"scores": {"1": 0.9, "0": 0.1}}, model_version="v")),
        json.dumps(prediction(features={"f": [1, {"g": None}]}, prediction=True, model_version=None)),
        '{"prediction_id": "q",   "model_id": "m", "timestamp": 1700000001000.4, "prediction": "late", "x": 1.50}',
    ]
    file = lines(tmp_path / "p.ndjson", *events)
    assert [value.decode() for batch in read_events(file, "predictions") for value in batch.values] == events
    assert dead_letters(file) == []


@pytest.mark.parametrize(("name", "form"), [("a.ndjson", "{}\n{}\n"), ("a.json", "{}\n{}\n"), ("b.json", "[{},{}]")])
def test_a_byte_order_mark_is_no_part_of_the_first_event(tmp_path: Path, name: str, form: str):
    events = [{"prediction_id": id_, "model_id": "m", "timestamp": 1, "prediction": 1} for id_ in "ab"]
    (tmp_path / name).write_text(form.format(*map(json.dumps, events)), encoding="utf-8-sig")
    assert given(tmp_path / name) == events


def test_bad_lines_are_dead_letters(tmp_path: Path):
    deep = '{"features":{"f":' + "[" * 5_000 + "]" * 5_000 + "}}"
    file = lines(
        tmp_path / "p.ndjson", "{", prediction(), "", "[1]", deep, prediction(timestamp="x"), prediction(prediction=None)
    )
    assert sorted(dead_letters(file)) == ["invalid", "invalid", "invalid", "not_json", "not_json"]
    assert len(log_times(file)) == 6


def test_an_array_of_events(tmp_path: Path):
    (tmp_path / "p.json").write_text(json.dumps([prediction(), prediction(segment={"a": "x"})], indent=2))
    assert given(tmp_path / "p.json") == [prediction(), prediction(segment={"a": "x"})]
    assert given(lines(tmp_path / "l.json", prediction())) == [prediction()]


def test_label_score_and_value_make_a_prediction_in_lines_too(tmp_path: Path):
    flat = {name: value for name, value in prediction().items() if name != "prediction"}
    file = lines(
        tmp_path / "p.ndjson", flat | {"label": "late", "score": None}, flat | {"value": 2.5}, prediction(score=0.1)
    )
    assert [event["prediction"] for event in given(file)] == [{"label": "late"}, {"value": 2.5}, 0.7]


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".ndjson", ".json"])
def test_a_file_that_is_not_there_or_has_nothing_in_it(tmp_path: Path, kind: str):
    file = tmp_path / f"p{kind}"
    with pytest.raises(ConfigError, match=rf"p{kind} does not exist\."):
        given(file)
    file.touch()
    with pytest.raises(ConfigError, match=rf"p{kind} is empty\."):
        given(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match=rf"p{kind} is not a file\."):
        given(file)


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_column_that_is_missing_is_named(tmp_path: Path, kind: str):
    every = columns(prediction=[0.7])
    for name in every:
        file = table(tmp_path / f"p{kind}", {key: value for key, value in every.items() if key != name})
        with pytest.raises(ConfigError, match=rf"p{kind} has no column {name}\."):
            given(file)


@pytest.mark.parametrize("name", ["prediction_id", "model_id", "timestamp", "prediction"])
def test_a_field_that_no_line_has_is_named(tmp_path: Path, name: str):
    without = {key: value for key, value in prediction().items() if key != name}
    with pytest.raises(ConfigError, match=rf"No event in .*p\.ndjson has {name}\."):
        given(lines(tmp_path / "p.ndjson", without, without))
    assert len(given(lines(tmp_path / "q.ndjson", without, prediction()))) == 2


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.parquet", b"not parquet at all", "p.parquet cannot be read"),
        ("p.csv", b"prediction_id,model_id,timestamp,score\np,m,1,0.5\np,m,1\n", "p.csv, line 3, has 3 cells for 4 columns"),
        ("p.csv", b'prediction_id,model_id,timestamp,score\np,m,1,"0.5\n', "p.csv, line 2, is no CSV"),
        ("p.csv", b"prediction_id,model_id,timestamp,score\n\xff,m,1,0.5\n", "p.csv is not UTF-8"),
        ("p.json", b'[{"prediction_id": 1}', "p.json is no array of events"),
        (
            "p.ndjson",
            b'{"prediction_id":"p","model_id":"m","timestamp":1,"prediction":1,"log_time":"noon"}',
            "p.ndjson, event 1: log_time is no number of milliseconds since 1970",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, name: str, content: bytes, sentence: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        given(tmp_path / name)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_header_alone_is_no_event(tmp_path: Path):
    (tmp_path / "p.csv").write_text("prediction_id,model_id,timestamp,score\n")
    assert given(tmp_path / "p.csv") == []


def test_utc_times_are_utc_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert log_times(table(tmp_path / "p.parquet", columns(prediction=[0.7], timestamp=[moment]))) == [1_700_000_000_000]
