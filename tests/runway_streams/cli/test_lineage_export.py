"""`runway lineage export` over a real graph."""

import json

import pytest

from runway_streams.errors import RunwayError


def test_what_was_declared_is_exported(runway, write):
    edges = [
        {"upstream": "dataset:db/t", "downstream": "model:fraud"},
        {"upstream": "model:fraud", "downstream": "consumer:bi/board"},
    ]
    runway("lineage", "declare", "-f", write("lineage.json", {"reporter": "bi", "edges": edges}))
    drawn = runway("lineage", "export", "fraud").stdout
    assert drawn.startswith("digraph lineage {")
    assert '"dataset:db/t" -> "model:fraud"' in drawn
    assert "board" not in drawn
    assert '-> "consumer:bi/board"' in runway("lineage", "export", "fraud", "--direction", "downstream").stdout
    (event,) = json.loads(runway("lineage", "export", "fraud", "--format", "openlineage").stdout)
    assert event["outputs"][0]["name"] == "fraud"


def test_a_node_that_nobody_told_of(runway):
    with pytest.raises(RunwayError, match="no node"):
        runway("lineage", "export", "nobody")
