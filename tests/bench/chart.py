"""The chart of a benchmark: a bar a row, how much of its goal was reached, as SVG."""

from collections.abc import Mapping
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, LINE, TOP = 900, 420, 90, 26, 44
FULL = 1.5  # of the goal: where the bars end
REACHED, MISSED = "#2a7f62", "#c8553d"


def draw(document: Mapping[str, Any]) -> str:
    """Return the SVG of what `make bench` measured."""
    rows = document["rows"]
    height = TOP + LINE * len(rows) + 30
    machine = document["machine"]
    subtitle = (
        f"{document['at']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" Python {machine['python']}, gevent {machine['gevent']}, SQLite {machine['sqlite']}"
    )
    goal = LEFT + _length(1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="15" font-weight="bold">How much of each goal is reached'
        " (longer is better; the line is the goal)</text>",
        f'<text x="10" y="37" fill="#555" font-size="11">{escape(subtitle)}</text>',
        *(_bar(row, TOP + LINE * i) for i, row in enumerate(rows)),
        f'<line x1="{goal}" x2="{goal}" y1="{TOP}" y2="{height - 26}" stroke="#222"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bar(row: Mapping[str, Any], top: int) -> str:
    reached = row["median"] / row["goal"] if row["at_least"] else row["goal"] / row["median"]
    colour = REACHED if row["reached"] else MISSED
    sign = "≥" if row["at_least"] else "≤"
    return (
        f'<text x="10" y="{top + 17}">{escape(row["what"])}</text>'
        f'<rect x="{LEFT}" y="{top + 5}" width="{_length(reached)}" height="16" fill="{colour}"/>'
        f'<text x="{WIDTH - RIGHT + 6}" y="{top + 17}" font-size="11">'
        f"{row['median']:.2f} ({sign} {row['goal']:g})</text>"
    )


def _length(reached: float) -> int:
    return round(min(reached, FULL) / FULL * (WIDTH - LEFT - RIGHT))
