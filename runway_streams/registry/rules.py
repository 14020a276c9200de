"""Rules: promotions and demotions of versions, compiled and tried on what is known of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import Any, Literal

from runway_streams.errors import RunwayError
from runway_streams.registry.expressions import (
    WORDS,
    Expression,
    Token,
    compile_expression,
    is_call,
    is_field,
    string_value,
    tokenize,
)
from runway_streams.registry.lifecycle import check_move
from runway_streams.registry.windows import check_window
from schemas.rules import Rule, RuleSet

VARIABLES = ("metrics", "live", "version", "stage")
DEPTHS = {"metrics": 1, "live": 2}
"""How many names must follow: a metric, or a window and a metric."""
MAX_WINDOWS = 8
"""Live windows of a rule: each is a question to merged performance."""
MAX_RULES = 50
MAX_SET_WINDOWS = 16
"""Different windows that all rules of a model look at."""
"""Rules of a model."""
MAX_SHOWN = 100
"""Characters of a value in a reason."""

Outcome = Literal["fired", "not", "unknown"]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A checked rule. `reads` are the paths of the facts that it names, `windows` the live ones among them."""

    rule: Rule
    expression: Expression
    reads: tuple[Path, ...]
    windows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a version. `live` is by window, then by name: `{"P1D": {"accuracy": 0.93, "joined": 1200}}`.
    `reasons` say why something is null, by its dotted name: `{"live.P1D.accuracy": "no labelled predictions"}`."""

    version: str
    stage: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    live: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule fired, why, and the facts that were read, by dotted name."""

    outcome: Outcome
    reason: str
    values: dict[str, Any]


def check_rules(rules: RuleSet) -> list[CompiledRule]:
    """Compiles all rules of a model. Raises RunwayError where one cannot be used, or two have one name."""
    if len(rules.rules) > MAX_RULES:
        raise RunwayError(f"There are {len(rules.rules)} rules.", f"At most {MAX_RULES} are taken.")
    names = [rule.name for rule in rules.rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RunwayError(f"Two rules are named {twice!r}.", "Give each a name of its own.")
    compiled = [compile_rule(rule) for rule in rules.rules]
    windows = {check_window(window) for rule in compiled for window in rule.windows}
    if len(windows) > MAX_SET_WINDOWS:
        raise RunwayError(f"The rules look at {len(windows)} windows.", f"At most {MAX_SET_WINDOWS} are taken.")
    return compiled


def compile_rule(rule: Rule) -> CompiledRule:
    """Checks and compiles one rule. Raises RunwayError, with the rule's name, where it cannot be used.

    >>> compile_rule(Rule("good", "evaluation", "staging", "WHEN metrics[mae] <= 5")).expression.text
    'metrics [ "mae" ] <= 5.0'
    >>> compile_rule(Rule("well", "staging", "production", "live.P1D.joined >= 1000")).windows
    ('P1D',)
    >>> compile_rule(Rule("odd", "evaluation", "staging", "speed > 5"))
    Traceback (most recent call last):
    ...
    runway_streams.errors.RunwayError: Rule 'odd': 'speed' is not known here. Variables are live, metrics, stage, version.
    """
    try:
        check_move(rule.from_, rule.to)
        words = quote_names(_without_when(tokenize(rule.when)))
        reads = tuple(dict.fromkeys(_paths(words)))
        windows = tuple(dict.fromkeys(path[1] for path in reads if path[0] == "live"))
        if len(windows) > MAX_WINDOWS:
            raise RunwayError(f"It reads {len(windows)} live windows.", f"At most {MAX_WINDOWS} are taken.")
        for window in windows:
            check_window(window)
        expression = compile_expression(words, VARIABLES)
    except RunwayError as error:
        raise RunwayError(f"Rule {rule.name!r}: {error.sentence}", error.remedy) from None
    return CompiledRule(rule, expression, reads, windows)


def evaluate(rule: CompiledRule, facts: Facts) -> Verdict:
    """Tries a rule. Never raises; whatever cannot be decided is unknown, and says which fact was missing. As CEL has it,
    `true || x` is true and `false && x` is false, whether x is known or not.

    >>> rule = compile_rule(Rule("good", "evaluation", "staging", "WHEN metrics[mae] <= 5"))
    >>> evaluate(rule, Facts("7", "evaluation", {"mae": 6.2}))
    Verdict(outcome='not', reason='metrics.mae is 6.2.', values={'metrics.mae': 6.2})
    >>> evaluate(rule, Facts("7", "evaluation")).reason
    'metrics.mae is not known.'
    """
    values = {path: value for path in rule.reads if (value := _fact(facts, path)) is not None}
    named = {_dotted(path): value for path, value in values.items()}
    said = _said(rule, values, facts)
    live = facts.live if isinstance(facts.live, Mapping) else {}
    if any(window not in live for window in rule.windows):
        # Nothing at all can be said of a window that cannot be read, not even that a metric is missing there.
        return Verdict("unknown", said, named)
    try:
        result = rule.expression.evaluate(_variables(rule, values, facts))
    except Exception as error:
        # What is missing explains the error better than CEL does.
        why = "" if len(values) < len(rule.reads) else f"This cannot be computed: {_first_sentence(error)}. "
        return Verdict("unknown", why + said, named)
    if not isinstance(result, bool):
        return Verdict("unknown", f"The result is {_shown(result)}, neither true nor false. {said}", named)
    return Verdict("fired" if result else "not", said, named)


def quote_names(words: Sequence[Token]) -> list[Token]:
    """Gallery's bare names in an index of `metrics` or `live` as strings; strings are never touched.

    >>> " ".join(word.text for word in quote_names(tokenize("metrics[mae] < 5 && version == 'metrics[mae]'")))
    'metrics [ "mae" ] < 5 && version == \\'metrics[mae]\\''
    """
    found = list(words)
    for start in _roots(words):
        for i in _keys(words, start):
            if words[i - 1].text == "[" and words[i].kind == "name":
                found[i] = Token("string", f'"{words[i].text}"')
    return found


def _without_when(words: list[Token]) -> list[Token]:
    return words[1:] if words and words[0].kind == "name" and words[0].text.lower() == "when" else words


def _roots(words: Sequence[Token]) -> Iterator[int]:
    """Where `metrics` and `live` stand as variables."""
    return (i for i, word in enumerate(words) if word.kind == "name" and word.text in DEPTHS and not is_field(words, i))


def _keys(words: Sequence[Token], start: int) -> Iterator[int]:
    """Where the names stand that follow a variable: `.name`, `[name]` or `["name"]`, up to a method's name."""
    i = start + 1
    while i + 1 < len(words):
        if words[i].text == "." and words[i + 1].kind == "name" and not is_call(words, i + 1):
            yield i + 1
            i += 2
        elif words[i].text == "[" and _is_key(words[i + 1]) and words[i + 2 : i + 3] == [Token("sign", "]")]:
            yield i + 1
            i += 3
        else:
            break


def _is_key(word: Token) -> bool:
    return word.kind == "string" or (word.kind == "name" and word.text not in WORDS)


def _paths(words: Sequence[Token]) -> Iterator[Path]:
    for start in _roots(words):
        root = words[start].text
        keys = list(_keys(words, start))
        names = [words[i].text if words[i].kind == "name" else string_value(words[i]) for i in keys]
        if not all(map(str.isprintable, names)):
            raise RunwayError("A metric's name has a character that cannot be shown.", "Leave it out.")
        after = start + 1 if not keys else keys[-1] + (2 if words[keys[-1] - 1].text == "[" else 1)
        if len(names) < DEPTHS[root] or words[after : after + 1] == [Token("sign", "[")]:
            form = 'metrics.mae or metrics["mae"]' if root == "metrics" else "live.P1D.accuracy"
            raise RunwayError(f"{root} must be followed by names, so that it is known what is read.", f"Write {form}.")
        yield (root, *names)


def _fact(facts: Facts, path: Path) -> float | bool | str | None:
    """One fact as CEL is given it: numbers as doubles; None where it is null, not finite or not there."""
    value: Any = facts.metrics if path[0] == "metrics" else facts.live
    for name in path[1:]:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool | str):
        return value
    return _finite(value) if isinstance(value, Real) else None


def _finite(value: Real) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _variables(rule: CompiledRule, values: dict[Path, Any], facts: Facts) -> dict[str, Any]:
    """Nothing but what the rule reads, so that what an evaluation takes does not depend on how much is known."""
    # An empty window is there, for has(live.P1D.accuracy) to be false rather than unknown.
    known: dict[str, Any] = {"metrics": {}, "live": {window: {} for window in rule.windows}}
    for path, value in values.items():
        place = known
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return known | {"version": facts.version, "stage": facts.stage}


def _said(rule: CompiledRule, values: dict[Path, Any], facts: Facts) -> str:
    """What is not known, with why, and then what is."""
    if not rule.reads:
        return "It depends on no metric."
    reasons = facts.reasons if isinstance(facts.reasons, Mapping) else {}
    parts = []
    for path in sorted(rule.reads, key=values.__contains__):
        name = _dotted(path)
        why = f" ({reasons[name]})" if reasons.get(name) else ""
        parts.append(f"{name} is {_shown(values[path])}" if path in values else f"{name} is not known{why}")
    return f"{', '.join(parts)}."


def _first_sentence(error: Exception) -> str:
    return str(error).partition(". ")[0][:MAX_SHOWN].rstrip(".")


def _shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _dotted(path: Path) -> str:
    return ".".join(path)
