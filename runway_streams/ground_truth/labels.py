"""Labels: which JSON values are one label, and which are a number."""

MAX_LABEL = 256
"""Characters of a label; longer ones are cut, in every layer alike."""


def canonical_label(value: bool | float | str) -> str:
    """The one text of a label: `true`, `1`, `1.0`, `"1"` and `"true"` are "1"; other strings are themselves, trimmed.

    >>> [canonical_label(v) for v in (True, 1, 1.0, "1", "True", False, 2.5, " late ")]
    ['1', '1', '1', '1', '1', '0', '2.5', 'late']
    """
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        text = value.strip()
        lowered = text.lower() if len(text) < 6 else ""
        return "1" if lowered == "true" else "0" if lowered == "false" else text[:MAX_LABEL]
    return str(int(value))[:MAX_LABEL] if value == int(value) else repr(value)


def number(value: bool | float | str) -> float | None:
    """The value as a number, or None where it is none.

    >>> number(True), number("2.5"), number("late"), number("nan")
    (1.0, 2.5, None, None)
    """
    try:
        found = float(value)
    except ValueError:
        return None
    return found if found - found == 0 else None
