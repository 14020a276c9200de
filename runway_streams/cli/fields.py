"""Fields: documents taken apart into dotted names and values, so that people can read and compare them."""

import json
from typing import Any

import msgspec

MAX_SHOWN = 160
"""Characters of a value."""


def whole(document: Any) -> Any:
    """A struct in builtins, with the members that have their defaults too.

    >>> from schemas.policy import RetrainPolicy
    >>> whole(RetrainPolicy())["priority"]
    50
    """
    if isinstance(document, msgspec.Struct):
        names = zip(document.__struct_fields__, document.__struct_encode_fields__, strict=True)
        values = ((outer, getattr(document, inner)) for inner, outer in names)
        return {name: whole(value) for name, value in values if value is not msgspec.UNSET}
    if isinstance(document, dict):
        return {name: whole(value) for name, value in document.items()}
    if isinstance(document, list):
        return [whole(value) for value in document]
    return document


def flat(document: Any, name: str = "") -> dict[str, Any]:
    """Values by dotted name; lists, and what is empty, stay as they are.

    >>> flat({"retrain": {"mode": "auto", "parameters": {}}, "tags": ["a"]})
    {'retrain.mode': 'auto', 'retrain.parameters': {}, 'tags': ['a']}
    """
    if not isinstance(document, dict) or not document:
        return {name: document}
    return {
        inner: value
        for member, each in document.items()
        for inner, value in flat(each, f"{name}.{member}" if name else str(member)).items()
    }


def shown(value: Any) -> str:
    """A value on one line, with nothing in it that a terminal would obey.

    >>> shown("é"), shown("\\x1b[31m"), shown(["a", 1])
    ('"é"', '"\\\\u001b[31m"', '["a", 1]')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if text.isprintable() else json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
