"""What files describe, and what they must not."""

import msgspec
import pytest
from msgspec import UNSET

from runway_streams.cli import manifests
from runway_streams.cli.manifests import desired_of, find_files, read_desired
from runway_streams.errors import ConfigError
from schemas.model import Model
from schemas.policy import Policy
from schemas.rules import Rule, RuleSet
from tests.runway_streams.cli.conftest import POLICY, RULE


def desired(*documents):
    return desired_of((f"file{number}", document) for number, document in enumerate(documents, 1))


def test_a_document_is_a_whole_model_and_what_it_says_of_policy_and_rules():
    found = desired(
        {"model_id": "a", "owner": "risk"},
        {"model_id": "b", "policy": POLICY, "rules": [RULE]},
        {"model_id": "c", "policy": None, "rules": None},
    ).models
    assert found["a"].model == Model("a", name="a", owner="risk")
    assert (found["a"].policy, found["a"].rules) == (UNSET, UNSET)
    assert found["b"].policy == msgspec.convert(POLICY, Policy)
    assert found["b"].rules == RuleSet([Rule("good", "evaluation", "staging", "metrics[mae] <= 5")])
    assert (found["c"].policy, found["c"].rules) == (None, RuleSet([]))


def test_defaults_are_by_scope_and_name():
    found = desired({"defaults": {"teams": {"risk": POLICY}, "tasks": {"binary": None}}}).defaults
    assert found == {("teams", "risk"): msgspec.convert(POLICY, Policy), ("tasks", "binary"): None}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"owner": "risk"}, "model_id"),
        ({"model_id": "a/b"}, "model_id"),
        ({"model_id": "m", "ownr": "risk"}, "ownr"),
        ({"model_id": "m", "labels": [0, 1]}, "labels"),
        ({"model_id": "m", "task": "binary", "positive_label": "late"}, "names its two labels"),
        ({"model_id": "m", "join_window": "PT25H"}, "join_window"),
        ({"model_id": "m", "description": "a\0b"}, "NUL"),
        ({"model_id": "m", "policy": {**POLICY, "staleness": {}}}, "policy: staleness: no signal"),
        ({"model_id": "m", "policy": {"staleness": {}}}, "retrain"),
        ({"model_id": "m", "rules": [{**RULE, "when": "metrics.mae <="}]}, "good"),
        ({"model_id": "m", "rules": [RULE, RULE]}, "Two rules are named"),
        ({"defaults": {"tasks": {"magic": POLICY}}}, "magic"),
        ({"defaults": {"teams": {"": POLICY}}}, "length"),
        ({"defaults": {"teams": {"risk": {**POLICY, "staleness": {}}}}}, r"defaults.teams.risk: staleness"),
        ({"defaults": {}, "model_id": "m"}, "model_id"),
        (["model_id"], "object"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(document, words):
    with pytest.raises(ConfigError, match=words) as caught:
        desired({"model_id": "fine"}, document)
    assert str(caught.value).startswith("file2: ")


@pytest.mark.parametrize(
    ("document", "name"),
    [({"model_id": "m"}, "The model m"), ({"defaults": {"teams": {"risk": POLICY}}}, "The default teams/risk")],
)
def test_what_is_described_twice_is_refused_with_both_places(document, name):
    with pytest.raises(ConfigError, match=f"^{name} is described in file1 and in file2"):
        desired(document, document)


def test_a_folder_is_read_whole_in_order_without_hidden_files(write, tmp_path):
    write("b.yml", "# nothing but a comment\n---\nmodel_id: b\n---\nmodel_id: c\n")
    write("deep/a.json", '{\n\t"model_id": "a"\n}')
    write(".git/x.yaml", "model_id: hidden")
    write("notes.txt", "model_id: text")
    assert list(read_desired(tmp_path / "files").models) == ["b", "c", "a"]
    write("deep/d.yaml", "model_id: d\n---\nmodel_id: c\n")
    with pytest.raises(ConfigError, match=r"c is described in .*b.yml, document 2 and in .*d.yaml, document 2"):
        read_desired(tmp_path / "files")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "model_id: [", "neither YAML nor JSON"),
        ("a.yaml", "[" * 5_000, "neither YAML nor JSON"),
        ("a.json", "[" * 50_000, "neither YAML nor JSON"),
        ("a.json", '{"model_id": "a"} {}', "neither YAML nor JSON"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "neither YAML nor JSON"),
        ("a.yaml", "#" * (1024 * 1024 + 1), "larger than 1 MiB"),
    ],
)
def test_files_that_cannot_be_used_are_a_sentence(write, name, content, words):
    with pytest.raises(ConfigError, match=words):
        read_desired(write(name, content))


def test_folders_that_hold_nothing_or_too_much_are_refused(tmp_path, write, monkeypatch):
    with pytest.raises(ConfigError, match="does not exist"):
        find_files(tmp_path / "missing")
    folder = write("notes.txt", "").parent
    with pytest.raises(ConfigError, match="holds no YAML or JSON file"):
        find_files(folder)
    monkeypatch.setattr(manifests, "MAX_FILES", 2)
    for number in range(3):
        write(f"{number}.yaml", "")
    with pytest.raises(ConfigError, match="more than 2 files"):
        find_files(folder)
