"""Patterns: the forms of texts in documents, as regular expressions of JSON Schema, and in words."""

# `$` alone also matches before a last newline in Python, which JSON Schema does not.
END = r"$(?!\n)"
MODEL_ID = rf"^[_a-zA-Z][.\-_a-zA-Z0-9]*{END}"
VERSION_NAME = rf"^[A-Za-z0-9_][A-Za-z0-9._+:-]*{END}"
ALIAS_NAME = rf"^[a-z][a-z0-9_-]*{END}"
SHA256 = rf"^[0-9a-f]{{64}}{END}"
WEB_LINK = rf"^https?://[^\s]+{END}"
DURATION = rf"^P(?=[0-9T])([0-9]{{1,9}}D)?(T(?=[0-9])([0-9]{{1,9}}H)?([0-9]{{1,9}}M)?([0-9]{{1,9}}S)?)?{END}"

WORDS = {
    MODEL_ID: "letters, digits, `.`, `-` and `_`, a letter or `_` first",
    VERSION_NAME: "letters, digits and `.-_+:`, a letter, a digit or `_` first",
    ALIAS_NAME: "small letters, digits, `-` and `_`, a letter first",
    SHA256: "64 hexadecimal digits, small letters",
    WEB_LINK: "http:// or https:// and what follows",
    DURATION: "an ISO 8601 duration such as PT8H, PT5M or P1D",
}


def in_words(message: str) -> str:
    """What msgspec says of a text that has another form, with words in the place of the expression.

    >>> in_words(f"Expected `str` matching regex {DURATION!r} - at `$.join_window`")
    'Expected an ISO 8601 duration such as PT8H, PT5M or P1D - at `$.join_window`'
    """
    for pattern, words in WORDS.items():
        message = message.replace(f"`str` matching regex {pattern!r}", words)
    return message
