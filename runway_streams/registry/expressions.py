"""Expressions: CEL as rules and policies may use it: no comprehensions, all numbers doubles, known names alone."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cel

from runway_streams.errors import RunwayError

MAX_LENGTH = 1_000
"""Characters of an expression. Without comprehensions, the work of an evaluation grows with its length and no faster."""

FUNCTIONS = ("contains", "double", "endsWith", "has", "size", "startsWith")
WORDS = ("true", "false", "null", "in")
REFUSED_OPERATORS = {"_%_": "%"}

_TOKEN = re.compile(
    r"""
    (?P<space> [ \t\r\n\f]+ | //[^\n]* )
    | (?P<string> [rR](?: \"\"\"[\s\S]*?\"\"\" | '''[\s\S]*?''' | "[^"\r\n]*" | '[^'\r\n]*' )
                | \"\"\"(?:\\[\s\S]|[^\\])*?\"\"\" | '''(?:\\[\s\S]|[^\\])*?'''
                | "(?:\\.|[^\\"\r\n])*" | '(?:\\.|[^\\'\r\n])*' )
    | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | [0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ | [0-9]+[uU]? )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<sign> == | != | <= | >= | && | \|\| | [-+*/%<>!?:.,()\[\]{}] )
    """,
    re.VERBOSE,
)
_HINTS = {
    "=": "Compare with ==.",
    "&": "Write && for and.",
    "|": "Write || for or.",
    "and": "Write && for and.",
    "or": "Write || for or.",
    "not": "Write ! for not.",
}

Kind = Literal["string", "number", "name", "sign"]


class Token(NamedTuple):
    """A word of an expression."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: `text` is what CEL was given. Evaluating it takes time in proportion to its length."""

    text: str
    tokens: tuple[Token, ...]
    program: cel.Program

    def evaluate(self, variables: dict[str, Any]) -> Any:
        """The value. Give numbers as floats. Raises what CEL raises: KeyError where a field is missing, TypeError..."""
        return self.program.execute(variables)


def tokenize(text: str) -> list[Token]:
    """The words of an expression, without spaces and comments. Raises RunwayError where CEL has no such word.

    >>> [token.text for token in tokenize('a["b // c"] <= 5 // five')]
    ['a', '[', '"b // c"', ']', '<=', '5']
    """
    if len(text) > MAX_LENGTH:
        raise RunwayError(f"The expression has {len(text)} characters.", f"At most {MAX_LENGTH} are taken: split it.")
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0]))  # type: ignore[arg-type]
        position = match.end()
    return found


def compile_expression(tokens: Iterable[Token], variables: Collection[str]) -> Expression:
    """Compiles an expression that may use the given variables. Whole numbers become doubles, because CEL does not add
    an int to a double. Raises RunwayError, with what to write instead.

    >>> compile_expression(tokenize("signals.age + 1 > 2"), {"signals"}).text
    'signals . age + 1.0 > 2.0'
    >>> compile_expression(tokenize("signals.all(s, s > 1)"), {"signals"})
    Traceback (most recent call last):
    ...
    runway_streams.errors.RunwayError: all(...) is not allowed here. Functions are contains, double, endsWith, has, size, \
startsWith; loops over lists and maps are not among them.
    """
    words = [_as_double(token) for token in tokens]
    for i in range(len(words)):
        _check_name(words, i, variables)
        _check_sign(words, i)
    text = " ".join(word.text for word in words)
    try:
        program = cel.compile(text)
    except ValueError as error:
        raise RunwayError(f"This is not CEL: {_first_line(error)}.", "Correct the expression.") from None
    references = program.references()
    # CEL's own list of names again: what the words above say and what was compiled must be the same.
    _check_known(references["variables"], variables)
    for function in references["functions"]:
        if function in REFUSED_OPERATORS:
            raise RunwayError(
                f"{REFUSED_OPERATORS[function]} is not allowed here.", "Numbers are doubles and have no remainder."
            )
    return Expression(text, tuple(words), program)


def string_value(token: Token) -> str:
    """The text that a string's word stands for."""
    try:
        return cel.evaluate(token.text)
    except ValueError as error:
        raise RunwayError(f"{token.text[:50]} is not a string: {_first_line(error)}.", "Correct it.") from None


def is_call(words: Sequence[Token], i: int) -> bool:
    """Whether the name at i is called."""
    return i + 1 < len(words) and words[i + 1].text == "(" and words[i].kind == "name" and words[i].text not in WORDS


def is_field(words: Sequence[Token], i: int) -> bool:
    """Whether the name at i is selected from something."""
    return i > 0 and words[i - 1] == Token("sign", ".")


def _check_name(words: Sequence[Token], i: int, variables: Collection[str]) -> None:
    word = words[i]
    if word.kind != "name":
        return
    if is_call(words, i):
        if word.text not in FUNCTIONS:
            functions = f"Functions are {', '.join(FUNCTIONS)}; loops over lists and maps are not among them."
            raise RunwayError(f"{word.text[:50]}(...) is not allowed here.", functions)
    elif not is_field(words, i) and word.text not in WORDS:
        _check_known([word.text], variables)


def _check_known(names: Iterable[str], variables: Collection[str]) -> None:
    for name in names:
        if name not in variables:
            hint = _HINTS.get(name.lower(), f"Variables are {', '.join(sorted(variables))}.")
            raise RunwayError(f"{name[:50]!r} is not known here.", hint)


def _check_sign(words: Sequence[Token], i: int) -> None:
    if words[i] == Token("sign", ".") and not _ends_operand(words, i - 1):
        raise RunwayError("A dot stands before a name without anything in front of it.", "Leave the dot out.")
    if words[i] == Token("sign", "/") and not _is_divisor(words, i + 1):
        # A quotient by 0 is infinite or NaN, which compares; a rule would fire on what nobody knows.
        raise RunwayError(
            "Only a number other than 0 may stand after /.", "Multiply instead: a <= 1.1 * b for a / b <= 1.1."
        )


def _ends_operand(words: Sequence[Token], i: int) -> bool:
    return i >= 0 and (words[i].kind in ("name", "string") or words[i].text in (")", "]", "}"))


def _is_divisor(words: Sequence[Token], i: int) -> bool:
    return i < len(words) and words[i].kind == "number" and float(words[i].text) != 0


def _as_double(token: Token) -> Token:
    if token.kind != "number":
        return token
    digits = token.text.rstrip("uU").lower()
    value = float(int(digits, 16)) if digits.startswith("0x") else _float(digits)
    return Token("number", repr(value))


def _float(digits: str) -> float:
    value = float(digits)
    if value == float("inf"):
        raise RunwayError(f"The number {digits[:50]} is too large.", "Write a smaller one.")
    return value


def _unreadable(text: str, position: int) -> RunwayError:
    character = text[position]
    if character in "\"'":
        return RunwayError(f"The string that begins at character {position + 1} has no end.", "Close it.")
    return RunwayError(
        f"{character!r} at character {position + 1} is nothing that CEL knows.", _HINTS.get(character, "Leave it out.")
    )


def _first_line(error: Exception) -> str:
    _, _, after = str(error).partition("ERROR: ")
    line = (after or str(error)).partition("\n")[0]
    return re.sub(r"^<input>:\d+:\d+: |\s*expecting \{.*$|\.$", "", line)[:200]
