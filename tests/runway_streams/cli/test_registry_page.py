"""`docs/registry.md` against the code: its files can be applied, its tables are complete, its bounds are as it says."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from runway_streams.cli.fields import flat, whole
from runway_streams.cli.manifests import desired_of
from runway_streams.registry.policies import check_policy, default_policy
from schemas.model import Model
from schemas.policy import AgeSignal, PerformanceSignal, Policy, RetrainPolicy, StalenessPolicy
from schemas.requests import NewVersion

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/registry.md").read_text()
POLICY, FILES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows(mark):
    lines = PAGE.split(f"<!-- {mark} -->\n", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in re.split(r" \|", line.strip().strip("|"))] for line in lines]


def test_the_files_of_the_page_can_be_applied():
    found = desired_of((str(number), document) for number, document in enumerate(yaml.safe_load_all(FILES)))
    assert (list(found.models), list(found.defaults)) == (
        ["late-arrival"],
        [("teams", "flights"), ("tasks", "regression")],
    )


def test_the_policy_of_the_page_is_the_built_in_one_made_whole():
    policy = msgspec.convert(yaml.safe_load(POLICY), Policy)
    check_policy(policy)
    assert policy.staleness == default_policy("binary").staleness
    assert set(flat(yaml.safe_load(POLICY)["retrain"])) - {"parameters.days"} == set(whole(policy.retrain)) - {"parameters"}


@pytest.mark.parametrize(("mark", "kind"), [("model", Model), ("version", NewVersion)])
def test_every_field_is_in_its_table(mark, kind):
    assert [row[0] for row in rows(mark)] == list(kind.__struct_fields__)


def test_every_field_of_a_policy_is_in_its_table_with_its_default():
    staleness = StalenessPolicy(performance=PerformanceSignal(1, "mae", 1, 2))
    documents = {"staleness": whole(staleness), "retrain": whole(RetrainPolicy())}
    documents["staleness"]["performance"] = {
        name: value for name, value in documents["staleness"]["performance"].items() if name in ("compare", "window")
    }
    shared = {f"staleness.*.{name}" for name in AgeSignal.__struct_fields__} | {"staleness.performance.metric"}
    defaults = flat(documents)
    table = {field: default for field, default, _ in rows("policy")}
    assert set(table) == set(defaults) | shared | {"staleness.performance"}
    for field, default in defaults.items():
        assert table[field] == ("none" if default in (None, {}) else str(default)), field


def test_bounds_are_where_the_table_says():
    for *_, constant, file in rows("bounds"):
        assert re.search(rf"^{constant} = ", (ROOT / file).read_text(), re.MULTILINE), constant
