"""Names of nodes: what people write is read, what is none is refused with a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runway_streams.dependency.node import MAX_PART, NAMED, NodeName, model_node, named, node_type, parse_node, split_name
from runway_streams.dependency.refusals import BadNode

PART = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)


@given(st.sampled_from(NAMED), PART, PART)
def test_a_name_is_read_as_it_was_written(type_: str, namespace: str, name: str):
    node = named(type_, namespace, name)
    assert parse_node(str(node)) == node
    assert node_type(str(node)) == type_


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no type"),
        ("dataset", "no type"),
        ("table:a/b", "no type"),
        ("version:a/b", "no type"),
        ("dataset:a", "no one slash"),
        ("dataset:a/b/c", "no one slash"),
        ("dataset:/b", "namespace '' of a dataset is empty"),
        ("dataset:a/", "name '' of a dataset is empty"),
        ("dataset:a/%zz", "a % that is no escape"),
        ("dataset:a/%ff", "not UTF-8"),
        ("dataset:a/%00", "control characters"),
        ("dataset:a/\ud800", "control characters"),
        ("dataset:a/" + "b" * (MAX_PART + 1), "longer than"),
        ("dataset:a/" + "b" * 10_000, "longer than"),
        ("model:", "no id of a model"),
        ("model:a b", "no id of a model"),
        ("model:a@", "no version after its @"),
        ("model:a@b@c", "no version of a model"),
        ("model:a/b", "no id of a model"),
    ],
)
def test_what_is_no_name_is_refused_with_a_sentence(text: str, says: str):
    with pytest.raises(BadNode, match=says):
        parse_node(text)


def test_names_that_need_no_encoding_are_read_too():
    assert str(parse_node("dataset:s3:bucket/with space")) == "dataset:s3%3Abucket/with%20space"
    assert parse_node("model:_a.b-c@v1.0+2") == NodeName("version", "_a.b-c", "v1.0+2") == model_node("_a.b-c", "v1.0+2")
    assert split_name("a/b/c") == ("a", "b/c")
