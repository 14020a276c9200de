"""`runway lineage`: a tree for people, documents for scripts, over a real graph; within the process, and over HTTP."""

import re

import pytest

from runway_streams.devstack.children import free_port
from runway_streams.errors import RunwayError

NO_ANSWER = "The lineage graph does not answer now, and nobody has asked this before: ask again later."
LINEAGE = {
    "edges": [
        {"upstream": "dataset:lake/orders", "downstream": "feature:shop/amount"},
        {"upstream": "dataset:lake/orders", "downstream": "feature:shop/count", "confidence": 0.5},
        {"upstream": "feature:shop/amount", "downstream": "model:fraud"},
        {"upstream": "feature:shop/count", "downstream": "model:fraud"},
        {"upstream": "model:fraud", "downstream": "consumer:bi/[board]"},
    ],
    "nodes": [{"id": "model:fraud", "facts": {"criticality": "high", "owner": "risk"}}],
}


@pytest.fixture
def told(runway, write):
    assert runway.json("lineage", "declare", "-f", write("lineage.json", LINEAGE)) == {"in_graph": True, "edges": 5}
    return runway


def test_a_tree_shows_what_a_model_is_made_from_each_node_once(told):
    lines = [re.sub("^[│├└─ ]+", "", line) for line in told("lineage", "show", "fraud").stdout.splitlines()]
    assert lines == [
        "model:fraud",
        "feature:shop/amount feeds, declared",
        "dataset:lake/orders feeds, declared",
        "feature:shop/count feeds, declared",
    ]
    down = told("lineage", "show", "dataset:lake/orders", "--direction", "downstream").stdout
    assert "feature:shop/count feeds, declared, 50%" in down
    assert "consumer:bi/%5Bboard%5D" in down


def test_impact_lists_models_with_who_to_talk_to(told):
    line = told("lineage", "impact", "dataset:lake/orders").stdout.splitlines()[1]
    assert line.split() == [
        "model:fraud", "high", "risk", "2", "dataset:lake/orders", ">", "feature:shop/amount", ">", "model:fraud",
    ]  # fmt: skip
    assert told.json("lineage", "impact", "dataset:lake/orders", "--type", "consumer")["items"][0]["distance"] == 3
    assert "Nothing that is known of uses" in told("lineage", "impact", "consumer:bi/[board]").stderr


def test_loops_incidents_and_names(told, write):
    assert "There are no loops." in told("lineage", "cycles").stderr
    assert "Nothing is at risk." in told("lineage", "incidents").stderr
    loop = {"edges": [{"upstream": "model:fraud", "downstream": "dataset:lake/orders"}]}
    told("lineage", "declare", "-f", write("loop.json", loop))
    shown = told("lineage", "cycles").stdout
    assert "model:fraud > dataset:lake/orders > feature:shop/amount > model:fraud" in shown
    assert [one["id"] for one in told.json("lineage", "find", "ORDERS")["items"]] == ["dataset:lake/orders"]
    assert "No node's name contains 'nothing'." in told("lineage", "find", "nothing").stderr


def test_without_the_graph_nothing_is_said_of_what_it_has(runway, monkeypatch):
    runway("models", "register", "fraud")
    monkeypatch.setenv("RUNWAY_NEO4J", f"bolt://neo4j:secret@127.0.0.1:{free_port()}/neo4j")
    for question in (["show", "fraud"], ["impact", "fraud"], ["cycles"], ["find", "fraud"]):
        assert runway("lineage", *question).stdout == ""
        assert " ".join(runway.stderr.split()) == NO_ANSWER
    assert runway.json("lineage", "show", "fraud")["answered_at"] is None
    assert " ".join(runway("lineage", "incidents").stderr.split()) == (
        "Nothing is at risk. The lineage graph does not answer now: each that is at risk is shown by itself."
    )


def test_what_is_wrong_is_said_in_a_sentence(told, write):
    for arguments, says in (
        (["show", "nobody"], "There is no node 'model:nobody'"),
        (["show", "table:a/b"], "no type that is known"),
        (["show", "fraud", "--as-of", "yesterday"], "as_of is 'yesterday'"),
        (["impact", "fraud", "--type", "eats"], "known are source"),
        (
            ["declare", "-f", write("bad.json", {"edges": [{"upstream": "x", "downstream": "model:m"}]})],
            "no type that is known",
        ),
    ):
        with pytest.raises(RunwayError, match=says):
            told("lineage", *arguments)


def test_it_asks_the_api_where_there_is_one(told, serve):
    serve()
    assert told.json("lineage", "show", "fraud")["blast_radius"]["nodes"] == 3
