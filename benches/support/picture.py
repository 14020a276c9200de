"""A bar chart as an SVG file of a few lines, for the docs: a logarithmic axis, one bar a row, its number beside it."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, ROW, LEFT, RIGHT = 720, 34, 210, 90


def draw_bars(path: Path, title: str, rows: Sequence[tuple[str, float, str]], note: str = "") -> None:
    """Writes one bar for each (label, value, what stands beside it); values of 0 have no bar."""
    most = max((value for _, value, _ in rows), default=1)
    least = min((value for _, value, _ in rows if value > 0), default=1)
    low, high = math.floor(math.log10(least)), math.log10(max(most, 10))
    span = max(high - low, 1)
    height = 60 + ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="30" font-size="17" font-weight="bold" fill="#222">{escape(title)}</text>',
    ]
    for number, (label, value, beside) in enumerate(rows):
        y = 52 + ROW * number
        length = (math.log10(value) - low) / span * (WIDTH - LEFT - RIGHT) if value > 0 else 0
        colour = "#3f51b5" if number == 0 else "#9fa8da"
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end" fill="#222">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(length, 1):.1f}" height="{ROW - 10}" fill="{colour}"/>',
            f'<text x="{LEFT + max(length, 1) + 8:.1f}" y="{y + 17}" fill="#222">{escape(beside)}</text>',
        ]
    parts += [f'<text x="16" y="{height - 12}" font-size="12" fill="#555">{escape(note)}</text>', "</svg>"]
    path.write_text("\n".join(parts) + "\n")
