"""Schemas: the checked-in documents agree with the types, and both judge every sample alike."""

from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from schemas.generate import CHANNELS, HERE, TYPES, main, outdated

FIXTURES = Path(__file__).parent / "fixtures"
SAMPLES = sorted(FIXTURES.glob("*/*/*.json"))


def test_the_checked_in_documents_are_what_the_types_say(capsys):
    assert outdated() == []
    assert main(["--check"]) == 0


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: str(path.relative_to(FIXTURES)))
def test_msgspec_and_json_schema_judge_alike(sample):
    event, verdict = sample.relative_to(FIXTURES).parts[:2]
    schema = msgspec.json.decode((HERE / "json" / f"{event}.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    by_schema = jsonschema.Draft202012Validator(schema).is_valid(msgspec.json.decode(sample.read_bytes()))
    try:
        msgspec.json.decode(sample.read_bytes(), type=TYPES[event])
        by_type = True
    except msgspec.ValidationError:
        by_type = False
    assert (by_type, by_schema) == (verdict == "valid",) * 2


def test_every_event_has_samples_of_both_kinds():
    assert {path.relative_to(FIXTURES).parts[:2] for path in SAMPLES} == {
        (event, verdict) for event in TYPES for verdict in ("valid", "invalid")
    }


def test_the_topics_document_names_every_topic_and_its_references_lead_somewhere():
    document = yaml.safe_load((HERE / "asyncapi.yaml").read_text())
    assert document["asyncapi"].startswith("3.")
    assert {channel["address"] for channel in document["channels"].values()} == {f"runway.{noun}" for noun in CHANNELS}
    assert "murmur2_random" in document["info"]["description"]
    for reference in references(document):
        file, _, place = reference.partition("#")
        found = yaml.safe_load((HERE / file).read_text()) if file else document
        for part in place.strip("/").split("/") if place else []:
            found = found[part]
        assert found


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
