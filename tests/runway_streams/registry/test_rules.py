import re
from math import isfinite

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runway_streams.errors import RunwayError
from runway_streams.registry.expressions import FUNCTIONS, MAX_LENGTH, tokenize
from runway_streams.registry.rules import (
    MAX_RULES,
    MAX_WINDOWS,
    Facts,
    check_rules,
    compile_rule,
    evaluate,
    quote_names,
)
from schemas.rules import Rule, RuleSet


def compiled(when):
    return compile_rule(Rule("r", "evaluation", "staging", when))


def verdict(when, metrics=None, live=None, reasons=None):
    return evaluate(compiled(when), Facts("v7", "evaluation", metrics or {}, live or {}, reasons or {}))


def outcome(when, metrics=None, live=None):
    return verdict(when, metrics, live).outcome


# -- spelling --------------------------------------------------------------------------------------------------------

ONE_METRIC = ["metrics[mae]", 'metrics["mae"]', "metrics['mae']", "metrics.mae", "metrics [ mae ]", r'metrics["m\u0061e"]']


@pytest.mark.parametrize("metric", ONE_METRIC)
@pytest.mark.parametrize("when", ["", "WHEN ", "when\n", "When\t"])
def test_every_spelling_of_a_metric_reads_it(metric, when):
    assert outcome(f"{when}{metric} <= 5", {"mae": 4}) == "fired"
    assert outcome(f"{when}{metric} <= 5", {"mae": 6}) == "not"


@pytest.mark.parametrize(
    "metric", ["live.P1D.joined", "live.P1D[joined]", "live[P1D][joined]", 'live["P1D"]["joined"]', "live['P1D'].joined"]
)
def test_every_spelling_of_a_live_metric_reads_it_and_its_window(metric):
    rule = compiled(f"{metric} >= 1000")
    assert rule.windows == ("P1D",)
    assert rule.reads == (("live", "P1D", "joined"),)
    assert outcome(f"{metric} >= 1000", live={"P1D": {"joined": 1000}}) == "fired"


def test_windows_are_each_named_once_in_the_order_of_the_expression():
    assert compiled("live.P7D.mae < 2 && live.PT1H[mae] < 3 && live.P7D.joined > 1").windows == ("P7D", "PT1H")


def test_names_with_signs_need_quotes():
    assert outcome('metrics["f1-score"] > 0.5', {"f1-score": 0.9}) == "fired"
    with pytest.raises(RunwayError, match=r'Write metrics\.mae or metrics\["mae"\]'):
        compiled("metrics[f1-score] > 0.5")


def test_strings_and_comments_are_left_alone():
    assert outcome("version == 'metrics[mae]' || metrics[mae] < 5 // and metrics[x]", {"mae": 4}) == "fired"
    assert compiled("version == 'live.PT7H.x'").windows == ()


def test_a_rule_is_read_from_json():
    rule = msgspec.json.decode(b'{"name":"up","from":"staging","to":"production","when":"live.P1D[mae]<5"}', type=Rule)
    assert compile_rule(rule).windows == ("P1D",)


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        "metrics.n == 1000", "metrics.n >= 1000", "metrics.n + 1 > 1000", "metrics.n * 2 == 2000", "metrics.n / 2 < 501",
        "metrics.n - 1 == 999.0", "metrics.n in [1, 1000]", "metrics.n > -5", "metrics.n >= 0x3e8", "metrics.n == 1000u",
        "metrics.n == double(1000)", "1e3 == metrics.n", ".5 < metrics.n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", [1000, 1000.0])
def test_whole_numbers_and_doubles_mix(when, n):
    assert outcome(when, {"n": n}) == "fired"


# -- what is not known ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metrics", [{}, {"mae": None}, {"mae": float("nan")}, {"mae": float("inf")}, {"mae": 10**400}, {"mae": [1]}]
)
def test_what_is_not_a_finite_number_is_unknown_and_named(metrics):
    for when in ("metrics.mae <= 5", "!(metrics.mae <= 5)", "metrics.mae == null"):
        assert verdict(when, metrics).outcome == "unknown"
        assert "metrics.mae is not known" in verdict(when, metrics).reason


def test_the_reason_of_the_live_layer_is_repeated():
    told = verdict(
        "live.P1D.accuracy >= 0.9 && live.P1D.joined >= 1000",
        live={"P1D": {"accuracy": None, "joined": 1200}},
        reasons={"live.P1D.accuracy": "no labelled predictions"},
    )
    assert told.outcome == "unknown"
    assert told.reason == "live.P1D.accuracy is not known (no labelled predictions), live.P1D.joined is 1200."
    assert told.values == {"live.P1D.joined": 1200.0}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("true || metrics.gone > 1", "fired"),
        ("metrics.gone > 1 || true", "fired"),
        ("metrics.gone > 1 && false", "not"),
        ("metrics.gone > 1 || false", "unknown"),
        ("metrics.gone > 1 && true", "unknown"),
        ("!(metrics.gone > 1)", "unknown"),
        ("has(metrics.gone)", "not"),
        ("has(live.P1D.gone)", "unknown"),
        ("!has(live.P1D.gone) || true", "unknown"),
        ("has(metrics.gone) ? metrics.gone > 1 : true", "fired"),
    ],
)
def test_logic_over_what_is_unknown_is_as_in_cel(when, expected):
    assert outcome(when) == expected


def test_a_window_that_can_be_read_may_be_asked_what_it_has():
    assert verdict("has(live.P1D.gone)", live={"P1D": {"joined": 1.0}}).outcome == "not"
    assert verdict("!has(live.P1D.gone)", live={"P1D": {"joined": 1.0}}).outcome == "fired"


def test_a_name_that_cannot_be_shown_is_refused():
    for name in (r"\x00", r"\000", r"\n", r"\u0007"):
        with pytest.raises(RunwayError, match="cannot be shown"):
            compile_rule(Rule("r", "evaluation", "staging", f'metrics["a{name}"] > 1'))


def test_a_type_mismatch_and_a_result_that_is_no_boolean_are_unknown():
    told = verdict("live.P1D.state > 5", live={"P1D": {"state": "good"}})
    assert told.outcome == "unknown"
    assert "live.P1D.state is 'good'" in told.reason
    told = verdict("metrics.mae", {"mae": 6.2})
    assert told.outcome == "unknown"
    assert told.reason == "The result is 6.2, neither true nor false. metrics.mae is 6.2."


def test_people_can_read_why_a_rule_fired_or_did_not():
    assert (
        verdict("metrics.mae <= 5 && metrics.n > 3", {"mae": 6.2, "n": 1000}).reason
        == "metrics.mae is 6.2, metrics.n is 1000."
    )
    assert verdict("version == 'v7' && stage == 'evaluation'").reason == "It depends on no metric."


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("metrics.all(m, m > 1)", "metrics must be followed by names"),
        ("[1, 2].map(m, m)", "map(...) is not allowed here"),
        ("[1, 2].filter(m, true)", "filter(...) is not allowed here"),
        ("[1, 2].exists(m, true)", "exists(...) is not allowed here"),
        ("[1, 2].exists_one(m, true)", "exists_one(...) is not allowed here"),
        ("[1, 2].all (m, true)", "all(...) is not allowed here"),
        ("cel.bind(x, 1, true)", "'cel' is not known here"),
        ("version.matches('(a+)+')", "matches(...) is not allowed here"),
        ("speed > 5", "'speed' is not known here. Variables are live, metrics, stage, version."),
        ("Speed{a: 1}", "'Speed' is not known here"),
        ("metrics.mae < 5 AND true", "Write && for and"),
        ("metrics.mae = 5", "Compare with =="),
        ("metrics.mae < ", "This is not CEL"),
        ("metrics.mae < 'a", "has no end"),
        ("metrics[live[P1D][mae]] < 1", "metrics must be followed by names"),
        ("metrics[version] < 1 && metrics[0] < 1", "metrics must be followed by names"),
        ("(live).P1D.mae < 1", "live must be followed by names"),
        ("live.P1D < 1", "Write live.P1D.accuracy"),
        ("live[stage + 'x'].mae < 1", "live must be followed by names"),
        ("live.P1D.mae < 1 && .live.P1D.mae < 1", "A dot stands before a name"),
        ("metrics.mae / metrics.base < 1.1", "Multiply instead"),
        ("metrics.mae / 0 < 1.1", "Multiply instead"),
        ("metrics.n % 2 == 1", "% is not allowed here"),
        ("metrics.n < 1e999", "is too large"),
        ("live.PT7H.mae < 1", "'PT7H' is no window of performance"),
        ("live.PT1M.mae < 1", "'PT1M' is no window of performance"),
        ("live.P31D.mae < 1", "whole days up to P30D"),
        ("live.P1DT1H.mae < 1", "is no window of performance"),
        ("live.day.mae < 1", "'day' is not an ISO 8601 duration"),
        (r"live['P1D\n'].mae < 1", "cannot be shown"),
        ("true" + " " * MAX_LENGTH, "At most 1000 are taken"),
        (" && ".join(f"live.P{i}D.mae < 1" for i in range(1, MAX_WINDOWS + 2)), "It reads 9 live windows. At most 8"),
    ],
)
def test_what_cannot_be_used_names_the_rule_and_what_to_do(when, words):
    with pytest.raises(RunwayError) as refused:
        compiled(when)
    assert str(refused.value).startswith("Rule 'r': ")
    assert words in str(refused.value)
    assert refused.value.remedy or words.startswith("'day'") or "ISO" in words


def test_a_rule_cannot_make_an_illegal_move():
    with pytest.raises(RunwayError, match="Rule 'jump': A version cannot move from training to production"):
        compile_rule(Rule("jump", "training", "production", "true"))


def test_names_are_unique_and_rules_are_bounded():
    one, other = Rule("a", "staging", "production", "true"), Rule("a", "production", "staging", "true")
    with pytest.raises(RunwayError, match="Two rules are named 'a'"):
        check_rules(RuleSet([one, other]))
    other = Rule("b", "production", "staging", "true")
    assert [rule.rule.name for rule in check_rules(RuleSet([one, other]))] == ["a", "b"]
    with pytest.raises(RunwayError, match="At most 50"):
        check_rules(RuleSet([Rule(str(i), "staging", "production", "true") for i in range(MAX_RULES + 1)]))


@pytest.mark.parametrize(
    "when", ["(" * 490 + "true" + ")" * 490, "!" * 990 + "true", "[" * 495 + "]" * 495, "-" * 990 + "1"]
)
def test_deep_nesting_is_refused_or_evaluated(when):
    try:
        rule = compiled(when)
    except RunwayError:
        return
    evaluate(rule, Facts("v", "s"))


# -- properties --------------------------------------------------------------------------------------------------------

NUMBERS = ["metrics.a", "metrics[b]", 'metrics["c d"]', "live.P1D.a", "live[PT1H][b]", "1", "2.5", "-3", "1e300"]
TEXTS = ["version", "stage", "'metrics[a]'", "'it'"]
CONDITIONS = st.recursive(
    st.one_of(
        st.tuples(
            st.sampled_from(NUMBERS),
            st.sampled_from(["<", "<=", "==", "!=", ">", ">="]),
            st.sampled_from([*NUMBERS, *TEXTS]),
        ),
        st.tuples(st.sampled_from(NUMBERS), st.sampled_from(["+", "*", "-"]), st.sampled_from(NUMBERS)),
        st.tuples(st.just("has(metrics.a)"), st.just("=="), st.just("true")),
    ).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda part: f"!({part})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"(({parts[0]}) ? ({parts[1]}) : ({parts[2]}))"),
    ),
    max_leaves=6,
)


def huge():
    """An int that is too large for a double."""
    return 10**400


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.builds(huge), st.binary())
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=2), inner)), max_leaves=4
)
NAMED = st.dictionaries(st.sampled_from(["a", "b", "c d"]) | st.text(max_size=3), VALUES, max_size=4)
ANY_TEXT = st.text(st.characters(codec=None), max_size=5)
FACTS = st.builds(
    Facts,
    ANY_TEXT,
    ANY_TEXT,
    NAMED | st.none(),
    st.dictionaries(st.sampled_from(["P1D", "PT1H"]), NAMED | VALUES) | VALUES,
    st.dictionaries(st.sampled_from(["metrics.a", "live.P1D.a"]), ANY_TEXT) | st.none(),
)


def is_known(facts, path):
    found = facts.metrics if path[0] == "metrics" else facts.live
    for name in path[1:]:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, int) and abs(found) > 1e308:
        return False
    return isinstance(found, str | bool | int) or (isinstance(found, float) and isfinite(found))


@given(CONDITIONS.filter(lambda when: len(when) <= MAX_LENGTH), FACTS)
@settings(max_examples=400, deadline=None)
def test_an_evaluation_never_raises_and_reads_only_what_is_known(when, facts):
    rule = compiled(when)
    told = evaluate(rule, facts)
    assert told.outcome in ("fired", "not", "unknown")
    assert told.reason
    assert set(told.values) == {".".join(path) for path in rule.reads if is_known(facts, path)}


@given(CONDITIONS.filter(lambda when: len(when) < MAX_LENGTH - 50 and "has(" not in when), FACTS, st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_unknown_never_decides(when, facts, data):
    """A rule that does not ask by has() and fires without a fact fires whatever that fact is: it did not depend on it."""
    rule = compiled(when)
    if evaluate(rule, facts).outcome != "fired":
        return
    unknown = [path for path in rule.reads if not is_known(facts, path)]
    live = (
        {window: dict(found) for window, found in facts.live.items() if isinstance(found, dict)}
        if isinstance(facts.live, dict)
        else {}
    )
    metrics = dict(facts.metrics or {})
    for path in unknown:
        place = metrics if path[0] == "metrics" else live.setdefault(path[1], {})
        place[path[-1]] = data.draw(st.floats(-1e6, 1e6))
    assert evaluate(rule, Facts(facts.version, facts.stage, metrics, live)).outcome == "fired"


@given(st.sampled_from(["<= 5", "> 5", "== 5", "!= 5", "in [5]", "== null"]), st.booleans())
def test_a_missing_metric_never_fires(test, negated):
    when = f"metrics.gone {test}"
    assert outcome(f"!({when})" if negated else when, {"mae": 1}) == "unknown"


LITERALS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n'), max_size=20).map('"{}"'.format),
    st.text(st.characters(codec="utf-8", exclude_characters="'\\\r\n"), max_size=20).map("r'{}'".format),
    st.sampled_from([r'"a\"metrics[b]\""', '"""metrics["x"]\nlive[y]"""', "r'\\'", "'// metrics[a]'", '"metrics[mae]"']),
)


@given(st.lists(LITERALS, min_size=1, max_size=5))
@settings(deadline=None)
def test_rewriting_does_not_change_strings(literals):
    when = " || ".join(f"metrics[mae] < 5 && version == {literal}" for literal in literals)
    words = quote_names(tokenize(when[:MAX_LENGTH] if len(when) <= MAX_LENGTH else "true"))
    if len(when) > MAX_LENGTH:
        return
    assert [word.text for word in words if word.kind == "string" and word.text != '"mae"'] == [
        literal for literal in literals if literal != '"mae"'
    ]
    assert sum(word.text == '"mae"' for word in words) == len(literals) + literals.count('"mae"')


WORDS = [
    "metrics", "live", "[", "]", ".", "P1D", "mae", "(", ")", "&&", "||", "!", "<", "==", "?", ":", "{", "}", ",", "'", '"',
    "r'", '"""', "1", "0", "1.5", "1e9", "0x", "5u", "/", "//", "\n", "has", "in", "true", "null", "WHEN", "version", "size",
    "map", "all", "\\", "é", "\0", "-", "+", "*", "%", " ",
]  # fmt: skip


@given(
    st.one_of(st.text(st.characters(codec=None), max_size=60), st.lists(st.sampled_from(WORDS), max_size=25).map("".join))
)
@settings(max_examples=1500, deadline=None)
def test_any_text_compiles_to_a_bounded_rule_or_is_refused(text):
    try:
        rule = compiled(text)
    except RunwayError:
        return
    assert evaluate(rule, Facts("v", "s", {"mae": 1.0}, {"P1D": {"mae": 2.0}})).reason
    assert not {name for name in rule.expression.program.functions() if re.fullmatch(r"\w{2,}", name)} - set(FUNCTIONS)
