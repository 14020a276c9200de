"""The picture of a soak: memory, file handles and lag over time, with a mark for each fault and each comparison. An SVG."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, GAP = 960, 150, 70, 34, 46
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
PANELS = (("memory, MiB", "rss", 1 / (1 << 20)), ("file handles", "files", 1.0), ("lag, events", "lag", 1.0))

Lines = dict[str, list[tuple[float, float]]]


def picture(records: Sequence[dict[str, Any]], title: str) -> str:
    """The drawing of a soak's records, as they stand in its JSON lines."""
    samples = [record for record in records if record["kind"] == "sample"]
    length = max([record["at"] for record in records] or [0.0]) or 1.0
    height = TOP + len(PANELS) * (HEIGHT + GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 140}" height="{height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for number, (name, field, factor) in enumerate(PANELS):
        parts += _panel(name, _lines(samples, field, factor), TOP + number * (HEIGHT + GAP), length, records)
    return "\n".join([*parts, "</svg>\n"])


def _lines(samples: Sequence[dict[str, Any]], field: str, factor: float) -> Lines:
    """Name -> (second, value): one line a process, or one for all."""
    lines: Lines = {}
    for sample in samples:
        given = sample[field] if isinstance(sample[field], dict) else {"": sample[field]}
        for name, value in given.items():
            if value is not None:
                lines.setdefault(name, []).append((sample["at"], value * factor))
    return lines


def _panel(name: str, lines: Lines, top: int, length: float, records: Sequence[dict[str, Any]]) -> list[str]:
    most = max([value for line in lines.values() for _, value in line] or [0.0]) or 1.0
    parts = [
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
        f'<text x="{LEFT}" y="{top - 5}" font-weight="bold">{name}</text>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 14}" text-anchor="end">{length / 60:.1f} min</text>',
    ]

    def x(at: float) -> float:
        return LEFT + WIDTH * at / length

    parts += [_mark(record, x, top) for record in records if record["kind"] in ("fault", "compared")]
    for number, (whose, line) in enumerate(sorted(lines.items())):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(at):.1f},{top + HEIGHT * (1 - value / most):.1f}" for at, value in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if whose:
            place = top + 12 + 14 * number
            parts.append(f'<text x="{LEFT + WIDTH + 8}" y="{place}" fill="{colour}">{escape(whose)}</text>')
    return parts


def _mark(record: dict[str, Any], x: Callable[[float], float], top: int) -> str:
    colour = "#bbb" if record["kind"] == "fault" else "#2ca02c"
    told, at = escape(str(record.get("fault", "compared: equal"))), x(record["at"])
    line = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + HEIGHT}" stroke="{colour}">'
    return f"{line}<title>{told}</title></line>"
