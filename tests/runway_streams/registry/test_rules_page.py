"""The page about rules against the code: its examples, its table of reasons and its bounds."""

import re
from pathlib import Path

import msgspec
import pytest

from runway_streams.registry.expressions import FUNCTIONS
from runway_streams.registry.rules import Facts, check_rules, compile_rule, evaluate
from schemas.rules import Rule, RuleSet

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/rules.md").read_text()


def rows(heading):
    lines = PAGE.split(f"{heading}\n", 1)[1].splitlines()[2:]
    lines = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip().strip("`") for cell in re.split(r" \|", line.strip().strip("|"))] for line in lines]


def test_the_example_is_a_rule_set():
    (example,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    compiled = check_rules(msgspec.json.decode(example, type=RuleSet))
    assert [rule.windows for rule in compiled] == [(), ("P1D",), ("PT6H",)]


@pytest.mark.parametrize(("when", "known", "outcome", "reason"), rows("<!-- reasons -->"))
def test_a_row_of_the_table_of_reasons(when, known, outcome, reason):
    metrics = {"mae": float(known.split()[1])} if known.startswith("mae ") else {}
    reasons = {"live.P1D.accuracy": known.removeprefix("null: ")} if known.startswith("null") else {}
    told = evaluate(compile_rule(Rule("r", "evaluation", "staging", when)), Facts("v", "s", metrics, {}, reasons))
    assert (told.outcome, told.reason) == (outcome, reason)


def test_every_function_is_listed():
    (line,) = re.findall(r"^- Functions are (.*)\.$", PAGE, re.MULTILINE)
    assert sorted(re.findall(r"\w+", line)) == sorted(FUNCTIONS)


@pytest.mark.parametrize(("bound", "value", "beyond", "constant", "file"), rows("<!-- bounds -->"))
def test_a_bound_is_what_the_table_says(bound, value, beyond, constant, file):
    said = re.search(rf"^{constant} = ([\d_]+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert int(said[1]) == int(re.match(r"[\d,]+", value)[0].replace(",", ""))
