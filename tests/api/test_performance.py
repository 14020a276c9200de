"""The merged performance endpoint, over both layers in memory."""

import random

import jsonschema
import msgspec
import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from api import performance
from api.query import Query
from api.settled import SettledDays
from runway_streams.ground_truth.settings import Settings
from runway_streams.times import BIN, HOUR, format_time
from tests.api.conftest import NOON, NOW, Event, FakeBatchView, merged_view

BINARY = Settings("m", task="binary")
PATH = "/v1/models/m/performance"
RANGE = {"start": format_time(NOON * HOUR), "end": format_time((NOON + 2) * HOUR)}

event = st.builds(
    Event,
    bin=st.integers(NOON * 12, NOON * 12 + 35),
    predicted=st.sampled_from("01"),
    actual=st.sampled_from("01"),
    status=st.sampled_from(["joined", "joined", "early", "open"]),
    log_hour=st.sampled_from([None, NOON, NOON + 3, NOON + 4]),
    partition=st.integers(0, 2),
    version=st.sampled_from("ab"),
    score=st.sampled_from([None, 0.1, 0.7]),
)


def answer(*asked):
    """The document as it is sent."""
    return orjson.loads(msgspec.json.encode(performance.answer(*asked)))


@settings(max_examples=50, deadline=None)
@given(st.lists(event, min_size=1, max_size=30), st.integers(NOON - 1, NOON + 5), st.sampled_from([BIN, HOUR, 24 * HOUR]))
def test_nothing_is_counted_twice_or_missing_whatever_the_batch_owns(events, owned_before, width):
    start = NOON // 24 * 24 * HOUR
    query = Query("m", start, start + 48 * HOUR, width)
    whole = answer(merged_view(events, None, BINARY), query, NOW)
    merged = answer(merged_view(events, FakeBatchView(events, owned_before), BINARY), query, NOW)
    assert merged["totals"]["predictions"] == len(events)
    for item, expected in zip([*merged["items"], merged["totals"]], [*whole["items"], whole["totals"]], strict=True):
        for name in ("start", "predictions", "joined", "early", "tp", "fp", "fn", "tn"):
            assert item[name] == expected[name]
        for name, metric in expected["metrics"].items():
            assert item["metrics"][name]["n"] == metric["n"]
            assert item["metrics"][name]["value"] == pytest.approx(metric["value"])
    sources = {item["source"] for item in merged["items"]}
    assert sources <= {"speed", "batch", "mixed"}


@settings(max_examples=30, deadline=None)
@given(st.lists(event, min_size=1, max_size=30), st.integers(NOON - 1, NOON + 5), st.booleans())
def test_settled_days_answer_as_if_they_were_not_kept(events, owned_before, stated):
    events = [
        *events,
        Event((NOON - 20) * 12, "x", "0", log_hour=NOON - 2),
        Event((NOON - 48) * 12, score=0.4, status="late"),
    ]
    view = merged_view(events, FakeBatchView(events, owned_before), *([BINARY] if stated else []))
    query = Query("m", (NOON - 60) * HOUR, (NOON + 24) * HOUR, HOUR)
    plain, kept = answer(view, query, NOW), SettledDays()
    for _ in range(2):
        assert answer(view, query, NOW, kept) == plain
    assert len(kept._kept) == 1


async def test_metrics_of_both_layers_are_those_of_scikit_learn(client):
    rng = random.Random(3)
    events = [
        Event(
            NOON * 12 + rng.randrange(24), str(int(score >= 0.5)), str(int(rng.random() < score)), "joined",
            partition=rng.randrange(3), score=score,
        )
        for score in (rng.randrange(256) / 256 for _ in range(400))
    ]  # fmt: skip
    view = merged_view(events, FakeBatchView(events, NOON + 1), BINARY)
    async with client(view) as http:
        found = (await http.get(PATH, params=RANGE)).json()
    truth, said = [int(e.actual) for e in events], [int(e.predicted) for e in events]
    scores = [e.score for e in events]
    metrics = found["totals"]["metrics"]
    assert found["totals"]["source"] == "mixed"
    assert [item["source"] for item in found["items"]] == ["batch", "speed"]
    assert metrics["f1"]["value"] == pytest.approx(sk.f1_score(truth, said))
    assert metrics["log_loss"]["value"] == pytest.approx(sk.log_loss(truth, [min(max(s, 1e-15), 1 - 1e-15) for s in scores]))
    assert metrics["brier"]["value"] == pytest.approx(sk.brier_score_loss(truth, scores))
    assert metrics["auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, scores))
    expected = sk.confusion_matrix(truth, said).tolist()
    assert found["totals"]["confusion"] == {"labels": ["0", "1"], "matrix": expected}


async def test_late_outcomes_are_folded_in_by_the_batch_and_kept_apart(client):
    events = [Event(NOON * 12), Event(NOON * 12, "1", "0", "late"), Event(NOON * 12, status="open")]
    async with client(merged_view(events, None, BINARY)) as http:
        speed = (await http.get(PATH, params=RANGE)).json()["items"][0]
    async with client(merged_view(events, FakeBatchView(events, NOON + 1), BINARY)) as http:
        merged = (await http.get(PATH, params=RANGE)).json()["items"][0]
    assert (speed["joined"], speed["late"], speed["label_rate"]) == (1, 1, pytest.approx(2 / 3))
    assert speed["metrics"]["accuracy"]["n"] == 1
    assert "joined_metrics" not in speed
    assert (merged["joined"], merged["late"]) == (1, 1)
    assert (merged["metrics"]["accuracy"]["value"], merged["metrics"]["accuracy"]["n"]) == (0.5, 2)
    assert (merged["joined_metrics"]["accuracy"]["value"], merged["joined_metrics"]["accuracy"]["n"]) == (1, 1)


async def test_a_batch_that_has_read_as_far_as_the_speed_layer_owns_everything(client):
    events = [Event(NOON * 12), Event(NOON * 12, "1", "0", "late")]
    async with client(merged_view(events, FakeBatchView(events, NOON - 9, covered=2), BINARY)) as http:
        item = (await http.get(PATH, params=RANGE)).json()["items"][0]
    assert (item["source"], item["metrics"]["accuracy"]["n"]) == ("batch", 2)


async def test_versions_segments_and_views(client):
    events = [
        Event(NOON * 12, version="a"), Event(NOON * 12, version="b", segment=("carrier", "AA")),
        Event(NOON * 12, version="b"),
    ]  # fmt: skip
    batch = FakeBatchView(events[:2], NOON + 1)
    async with client(merged_view(events, batch, BINARY)) as http:

        async def total(**parameters):
            return (await http.get(PATH, params=RANGE | parameters)).json()["totals"]["predictions"]

        assert await total(version="b", view="speed") == 2
        assert await total(version="none") == 0
        assert await total(segment="carrier:AA", view="speed") == 1
        assert await total(segment="carrier:AA") == 1
        assert await total(view="batch") == 2
        assert await total(view="speed") == 3
        assert (await http.get(PATH, params=RANGE)).json()["versions"] == ["a", "b"]


async def test_hours_in_neither_layer_are_gaps_and_late_partitions_make_windows_incomplete(client):
    events = [Event(NOON * 12), Event((NOON + 3) * 12)]
    view = merged_view(events, FakeBatchView(events, NOON + 1), BINARY, complete_from=NOON + 3)
    view.speed.store.marks[0].clock = (NOON + 3) * HOUR
    async with client(view) as http:
        end = format_time((NOON + 4) * HOUR)
        found = (await http.get(PATH, params=RANGE | {"end": end})).json()
    assert [item["degraded"] for item in found["items"]] == [[], ["gap"], ["gap"], []]
    assert [item["source"] for item in found["items"]] == ["batch", None, None, "speed"]
    assert [item["incomplete"] for item in found["items"]] == [False, False, False, True]
    assert found["items"][1]["metrics"]["accuracy"]["reason"] == "no labelled predictions"
    assert found["degraded"] == found["totals"]["degraded"] == ["gap"]
    assert found["as_of"] == {"speed": format_time((NOON + 3) * HOUR), "batch": format_time((NOON + 27) * HOUR)}


async def test_label_completeness_is_the_rate_over_what_closed_hours_got(client):
    old = [Event(NOON * 12, status="joined" if i < 80 else "open") for i in range(100)]
    new = [Event((NOON + 40) * 12, status="joined" if i < 2 else "open") for i in range(5)]
    async with client(merged_view(old + new, None, BINARY)) as http:
        found = (await http.get(PATH, params=RANGE | {"end": format_time((NOON + 48) * HOUR)})).json()
    assert found["expected_label_rate"] == 0.8
    assert [item["label_completeness"] for item in found["items"]] == [1, pytest.approx(0.5)]
    async with client(merged_view(new, None, BINARY)) as http:
        found = (await http.get(PATH)).json()
    assert found["items"][0]["label_completeness"] is None
    assert "closed hours" in found["expected_label_rate_reason"]


async def test_a_task_that_nobody_states_is_guessed(client):
    events = [Event(NOON * 12, p, a) for p, a in ("ab", "bb", "cc")]
    async with client(merged_view(events)) as http:
        found = (await http.get(PATH, params=RANGE)).json()
    assert (found["task"], found["task_guessed"]) == ("multiclass", True)
    assert found["totals"]["metrics"]["classes"]["b"]["recall"]["value"] == 0.5
    assert "tp" not in found["totals"]


async def test_the_range_is_widened_to_whole_windows_and_defaults_to_a_day(client):
    async with client(merged_view([Event(NOON * 12)], None, BINARY)) as http:
        found = (await http.get(PATH, params={"start": "2024-10-04T12:34:56+00:00", "end": "2024-10-04 13:00:01Z"})).json()
        assert (found["start"], found["end"]) == ("2024-10-04T12:00:00Z", "2024-10-04T14:00:00Z")
        found = (await http.get(PATH)).json()
        assert (found["start"], found["end"]) == (format_time(NOW - 24 * HOUR), format_time(NOW))
        assert found["items"] == []
        assert found["totals"]["predictions"] == 0


async def test_windows_below_an_hour_have_no_auc(client):
    async with client(merged_view([Event(NOON * 12, score=0.7)], None, BINARY)) as http:
        found = (await http.get(PATH, params=RANGE | {"granularity": "PT15M"})).json()
    assert found["items"][0]["metrics"]["auc"]["reason"] == "finer than PT1H"
    assert found["items"][0]["metrics"]["brier"]["n"] == 1


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"granularity": "PT1M"}, "PT5M is the finest"),
        ({"granularity": "PT7M"}, "PT5M is the finest"),
        ({"granularity": "PT0S"}, "PT5M is the finest"),
        ({"granularity": "PT35M"}, "divides a day"),
        ({"granularity": "PT36H"}, "divides a day"),
        ({"granularity": "1h"}, "ISO 8601"),
        ({"granularity": "P99999999999D"}, "whole days"),
        ({"start": "2024-10-05", "end": "2024-10-04"}, "must lie before"),
        ({"start": "yesterday"}, "RFC 3339"),
        ({"start": "2024-10-04T00:00:00"}, "zone"),
        ({"start": "0001-01-01T00:00:00Z", "end": "0001-01-01T00:00:01+14:00"}, "years 1"),
        ({"start": "2000-01-01", "granularity": "PT5M"}, "at most 10000"),
        ({"segment": "carrier"}, "KEY:VALUE"),
        ({"view": "both"}, "merged, speed or batch"),
        ({"interval": "PT1H"}, "no parameter"),
        ({"version": "x" * 301}, "at most 300"),
    ],
)
async def test_bad_queries_are_told_what_is_wrong(client, parameters, says):
    async with client(merged_view([Event(NOON * 12)], None, BINARY)) as http:
        found = await http.get(PATH, params=parameters)
    assert found.status_code == 400
    assert found.headers["content-type"] == "application/problem+json"
    assert says in found.json()["detail"]


async def test_unknown_models_are_404_once_all_is_known_and_503_before(client):
    async with client(merged_view()) as http:
        found = await http.get(PATH)
        assert (found.status_code, found.json()["type"]) == (404, "urn:runway:problem:unknown-model")
    view = merged_view(ready=False, problem="Kafka at x did not answer.")
    async with client(view) as http:
        found = await http.get(PATH)
        assert found.status_code == 503
        assert "Kafka at x" in found.json()["detail"]


async def test_without_the_speed_layer_the_batch_answers_and_says_so(client):
    view = merged_view((), FakeBatchView([Event(NOON * 12)], NOON + 1), BINARY, ready=False, problem="Kafka is down.")
    async with client(view) as http:
        found = (await http.get(PATH, params=RANGE)).json()
    assert found["degraded"] == ["speed_unavailable"]
    assert found["totals"]["predictions"] == 1


async def test_answers_are_as_the_openapi_document_says(client):
    from importlib.resources import files

    document = yaml.safe_load(files("schemas").joinpath("openapi.yaml").read_text())
    events = [Event(NOON * 12, score=0.3), Event(NOON * 12 + 1, "0", "1", "late", score=0.4)]
    async with client(merged_view(events, FakeBatchView(events, NOON + 1), BINARY)) as http:
        found = (await http.get(PATH, params=RANGE)).json()
    schema = {"$ref": "#/components/schemas/Performance", "components": document["components"]}
    jsonschema.validate(found, schema, jsonschema.Draft202012Validator)
    assert orjson.dumps(found)


@pytest.mark.parametrize("view", ["merged", "speed", "batch"])
@pytest.mark.parametrize("width", [BIN, HOUR])
def test_a_segment_whose_values_may_have_been_left_out_says_so(view, width):
    events = [
        Event(NOON * 12 + 1, segment=("dest", "MYR"), log_hour=NOON),
        Event(NOON * 12 + 2, log_hour=NOON, dropped=True),
        Event(NOON * 12 + 14, log_hour=NOON + 1),
    ]
    whole = merged_view(events, FakeBatchView(events, NOON + 2), BINARY)
    range_ = {"start": NOON * HOUR, "end": (NOON + 2) * HOUR, "width": width, "view": view}
    for value, predictions in (("MYR", 1), ("BZN", 0)):
        found = answer(whole, Query("m", **range_, segment=("dest", value)), NOW)
        assert (found["totals"]["predictions"], found["totals"]["partial"]) == (predictions, True)
        flagged = {item["start"] for item in found["items"] if item["partial"]}
        # The speed layer flags all that the total has of the hour.
        may_be = {format_time((NOON * 12 + bin) * BIN // width * width) for bin in (1, 2)}
        assert format_time((NOON * 12 + 2) * BIN // width * width) in flagged <= may_be
    declared = Settings("m", task="binary", segments=frozenset({"dest"}))
    kept = answer(
        merged_view(events, FakeBatchView(events, NOON + 2), declared), Query("m", **range_, segment=("dest", "BZN")), NOW
    )
    assert (kept["items"], kept["totals"]["partial"]) == ([], False)
