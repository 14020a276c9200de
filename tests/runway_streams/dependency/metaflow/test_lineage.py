"""What a run tells, from the texts alone: the order of trust, what has ended, and what bad and hostile texts come to."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency.metaflow.lineage import (
    BY_KNOWN_FLOW,
    BY_TRIGGER,
    IN_ARTIFACT,
    IN_GRAPH,
    IN_TAGS,
    MAX_TEXT,
    MAX_TRIGGERS,
    told_by,
)
from runway_streams.dependency.metaflow.run import MetaflowRun
from runway_streams.dependency.report import check_report
from tests.metaflow_flows import FLOWS

PAGE = Path(__file__).parents[4] / "docs/metaflow.md"
FLOW, MODEL = "flow:metaflow/F", "model:m"
INPUTS = [{"type": "feature", "namespace": "ns", "name": "a"}, {"type": "model", "name": "up", "version": "3"}]
TAGS = ["runway:model:tagged", "runway:data:s3/raw/flights", "runway:feature:b"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def document(**more) -> str:
    return json.dumps({"schema": "runway.lineage/1", "model": {"name": "m"}, "inputs": INPUTS} | more)


def run(**more) -> MetaflowRun:
    return MetaflowRun("F", "7", **({"started_at": 10, "finished_at": 20} | more))


def told(made, index=0):
    for report in made.reports:
        check_report(report)
    return {(claim.upstream, claim.kind, claim.downstream): claim for claim in made.reports[index].claims}


def test_the_sources_are_trusted_in_their_order():
    assert 1 >= IN_ARTIFACT > IN_TAGS > BY_TRIGGER > BY_KNOWN_FLOW > IN_GRAPH > 0


def test_the_artifact_counts_and_tags_do_not():
    found = told_by(run(lineage=document(), tags=TAGS))
    claims = told(found)
    assert (found.model_id, found.version, found.notes) == ("m", "7", [])
    assert claims[("feature:ns/a", "feeds", MODEL)].confidence == IN_ARTIFACT
    assert ("model:up@3", "feeds", "model:m@7") in claims
    assert not any("tagged" in node or "raw" in node for node in found.reports[0].node_ids())
    assert found.reports[0].whole_inputs == found.reports[0].whole_outputs == [MODEL]


@pytest.mark.parametrize(
    "bad",
    ["", "{", "null", "[]", "1", '"x"', "\ud800", "[" * 100_000, " " * (MAX_TEXT + 1), document(schema="runway.lineage/2"),
     document(model="m"), document(model={"name": 1}), document(model={"name": "no name"}), document(inputs=5),
     document(inputs=[{"type": "table", "name": "a"}]), document(inputs=[{"type": "model", "name": "../x"}]),
     document(inputs=[{"type": "dataset", "namespace": "a\0", "name": "b"}]), document(model={"name": "m", "version": "a b"}),
     document(inputs=INPUTS * 2_000), document(outputs=[{"type": "dataset", "name": "x" * 600}])],
    ids=lambda text: repr(text[:40]),
)  # fmt: skip
def test_a_bad_artifact_gives_a_sentence_and_the_tags_are_used(bad):
    found = told_by(run(lineage=bad, tags=TAGS))
    (note,) = found.notes
    assert note.startswith("The artifact runway_lineage of F/7 is not used. ")
    assert note.endswith(".")
    assert len(note) < 600
    claims = told(found)
    assert found.model_id == "tagged"
    assert claims[("dataset:s3/raw%2Fflights", "feeds", "model:tagged")].confidence == IN_TAGS
    assert ("feature:default/b", "feeds", "model:tagged@7") in claims


def test_bad_tags_give_sentences_and_the_others_are_used():
    tags = ["runway:model:bad name", "runway:x:y", "runway:", "runway:feature:", "runway:upstream-model:u@", "other:tag", "runway:model:m",
            "runway:model:z", "runway:data:a/b"]  # fmt: skip
    found = told_by(run(tags=tags))
    assert (found.model_id, len(found.notes)) == ("m", 6)
    assert ("dataset:a/b", "feeds", MODEL) in told(found)


@pytest.mark.parametrize(
    ("tag", "node"),
    [("data:s3://lake/raw/flights", "dataset:s3%3A%2F%2Flake/raw%2Fflights"),
     ("data:postgres://db:5432/shop.public.orders", "dataset:postgres%3A%2F%2Fdb%3A5432/shop.public.orders"),
     ("data:abfss://box@acc.dfs.core.windows.net/a", "dataset:abfss%3A%2F%2Fbox%40acc.dfs.core.windows.net/a"),
     ("data:file:///raw/x", "dataset:file/%2Fraw%2Fx"), ("data:hdfs://nn:8020/raw", "dataset:hdfs%3A%2F%2Fnn%3A8020/%2Fraw"),
     ("feature:s3://lake/features/amount", "feature:s3%3A%2F%2Flake/features%2Famount"),
     ("data:a://", "dataset:a%3A/%2F")],
)  # fmt: skip
def test_a_tag_may_hold_a_url_whose_namespace_is_as_openlineage_has_it(tag, node):
    found = told_by(run(tags=["runway:model:m", f"runway:{tag}"]))
    assert found.notes == []
    assert (node, "feeds", MODEL) in told(found)


def test_a_url_without_a_name_gives_a_sentence():
    found = told_by(run(tags=["runway:model:m", "runway:data:s3://lake"]))
    assert "'runway:data:s3://lake' of F/7 is not used" in found.notes[0]


def test_the_registry_says_how_a_version_is_called_that_the_run_does_not_name():
    registered = {"m": "9", "n": "8"}
    assert told_by(run(), "m", registered).version == "9"
    assert told_by(run(lineage=document()), "n", registered).version == "9"
    assert told_by(run(lineage=document(model={"name": "m", "version": "3"})), "m", registered).version == "3"
    assert told_by(run(lineage=document(model={"name": "o"})), "m", registered).version == "7"


def test_inputs_that_a_later_run_does_not_tell_have_ended_but_silence_ends_nothing():
    assert told_by(run(tags=TAGS)).reports[0].whole_inputs == ["model:tagged"]
    assert told_by(run(tags=["runway:model:m"])).reports[0].whole_inputs == []
    assert told_by(run()).reports[0].whole_inputs == []
    assert told_by(run(lineage=document(), finished_at=None)).reports[0].whole_inputs == []


def test_a_run_that_has_not_ended_well_makes_no_version():
    found = told_by(run(lineage=document(), finished_at=None))
    assert found.version is None
    assert found.reports[0].at == 10
    assert not any("@7" in node for node in found.reports[0].node_ids())


def test_the_model_of_the_flow_is_inferred():
    claim = told(told_by(run(), "m"))[(FLOW, "produces", MODEL)]
    assert (claim.source, claim.confidence) == ("inferred", BY_KNOWN_FLOW)
    assert told_by(run(lineage=document()), "other").model_id == "m"


def test_a_foreign_model_is_neither_made_nor_an_output_and_the_flow_has_what_is_said():
    outputs = [
        {"type": "model", "name": "m"},
        {"type": "model", "name": "z", "version": "1"},
        {"type": "model", "name": "own"},
    ]
    named_so = run(lineage=document(outputs=outputs))
    assert told_by(named_so).makes == ["m", "z", "own"]
    found = told_by(named_so, "own", foreign=["m", "z", "up"])
    assert told(found).keys() == {
        ("feature:ns/a", "feeds", FLOW), ("model:up@3", "feeds", FLOW), (FLOW, "produces", "model:own"),
    }  # fmt: skip
    assert (found.model_id, found.version, found.reports[0].whole_inputs) == (None, None, [FLOW])
    assert found.notes == ["That F/7 has made m, z is left out of the lineage: its flow is not the model's."]


def test_a_model_that_reads_its_own_version_or_itself_makes_no_loop_of_one_edge():
    found = told_by(
        run(lineage=document(inputs=[{"type": "model", "name": "m"}, {"type": "model", "name": "m", "version": "7"}]))
    )
    assert all(claim.upstream != claim.downstream for report in found.reports for claim in report.claims)


def test_triggers_and_the_graph_are_reporters_of_their_own():
    triggers = json.dumps([{"type": "run", "id": "Up/5/end/3"}, {"type": "event", "id": "x/y"}, {"type": "run", "id": None}])
    graph = {
        "decorators": [
            {"name": "trigger_on_finish", "attributes": {"flow": "proj.prod.Up", "flows": ["F"]}},
            {"name": "x"},
            3,
        ]
    }
    found = told_by(run(triggers=triggers, graph=graph, lineage=document()))
    assert [report.reporter for report in found.reports] == ["metaflow:F", "metaflow-triggers:F", "metaflow-graph:F"]
    assert told(found, 1).keys() == {
        ("flow:metaflow/Up", "triggers", FLOW),
        ("run:metaflow/Up%2F5", "triggers", "run:metaflow/F%2F7"),
    }
    assert told(found, 2).keys() == {("flow:metaflow/Up", "triggers", FLOW)}
    assert found.reports[2].whole_inputs == [FLOW]


@pytest.mark.parametrize("bad", ["", "{}", "[1]", "[" * 100_000, '[{"type": "run", "id": "/"}]', "\ud800"])
def test_bad_triggers_give_a_sentence(bad):
    found = told_by(run(triggers=bad))
    assert len(found.notes) == 1
    assert len(found.reports) == 1


def test_triggers_are_bounded():
    many = json.dumps([{"type": "run", "id": f"F{number}/1"} for number in range(10 * MAX_TRIGGERS)])
    assert len(told(told_by(run(triggers=many)), 1)) == 2 * MAX_TRIGGERS


@given(JSON, JSON, st.text(), st.text(), st.lists(st.text()), st.booleans())
def test_nothing_in_a_run_crashes_it_and_every_report_can_be_taken(value, graph, flow, run_id, tags, finished):
    hostile = MetaflowRun(
        flow, run_id, 10, 20 if finished else None, tags=[*tags, *(f"runway:{tag}" for tag in tags)],
        lineage=json.dumps(value), triggers=json.dumps([value, graph]), graph=graph if isinstance(graph, dict) else {"decorators": graph},
    )  # fmt: skip
    for report in told_by(hostile).reports:
        check_report(report)


@given(st.fixed_dictionaries({}, optional={"name": JSON, "version": JSON}), st.lists(JSON), JSON)
def test_nothing_in_an_artifact_crashes_it(model, inputs, flows):
    ends = [{"type": "dataset", "name": one, "namespace": one} for one in inputs]
    graph = {"decorators": [{"name": "trigger_on_finish", "attributes": {"flow": flows, "flows": inputs}}]}
    found = told_by(run(lineage=document(model=model, inputs=ends), graph=graph))
    assert all(isinstance(note, str) for note in found.notes)
    assert msgspec.json.encode(found.reports)
    for report in found.reports:
        check_report(report)


def test_the_page_tells_the_confidences_as_they_are():
    page = PAGE.read_text()
    said = re.findall(r"\| (declared|observed|inferred) \| ([\d.]+) \|", page)
    assert [float(confidence) for _, confidence in said] == [IN_ARTIFACT, IN_TAGS, BY_TRIGGER, BY_KNOWN_FLOW, IN_GRAPH]


def test_the_flow_of_the_page_is_the_one_that_the_tests_run():
    assert f"```python\n{(FLOWS / 'device_risk_flow.py').read_text()}```" in PAGE.read_text()
