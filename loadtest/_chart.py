"""Chart: lines over time as an SVG drawing, for a page without scripts.

Colours are the page's: a line's `kind` is its class in the style. Knows no run and no page.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

MISSING = "\N{EN DASH}"
LEFT, RIGHT, TOP, BOTTOM = 64, 884, 26, 212  # of what a chart frames, in px at full width
WIDTH, HEIGHT = 900, 254  # of all of a chart
VALUE_INTERVALS_MAX = 4  # between the numbers at an axis: more would be noise
SECOND_INTERVALS_MAX = 8
SECOND_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
    *(1200, 1800, 3600, 7200, 14400, 28800),
)
MILLION = 1_000_000
MINUTES_FROM_S = 300  # a run this long is counted in minutes
MARK_WIDTH = 130  # px: the room that a mark's text needs

Number = float | None


class Line(NamedTuple):
    """A line through values at moments in seconds; None is a gap in it."""

    name: str
    kind: str
    at_s: Sequence[float]
    values: Sequence[Number]


class Span(NamedTuple):
    """A stretch of time, and what there is to tell of it."""

    begin_s: float
    end_s: float
    tip: str


class Mark(NamedTuple):
    """A moment that is worth a word."""

    at_s: float
    word: str


class Axes(NamedTuple):
    """Where a second and a value are on a chart, in px from its upper left."""

    last_s: float
    top: float

    def x(self, second: float) -> float:
        """Return px; 0 s is at the left."""
        return LEFT + (RIGHT - LEFT) * second / self.last_s

    def y(self, value: float) -> float:
        """Return px; 0, and what is below it, is at the bottom."""
        return BOTTOM - (BOTTOM - TOP) * max(0.0, value) / self.top


def chart(
    unit: str, last_s: float, lines: Sequence[Line], spans: Iterable[Span], mark: Mark | None
) -> str:
    """Return a drawing of the lines from 0 to `last_s`, or a sentence if there is nothing."""
    known = [value for line in lines for value in line.values if value is not None]
    if not known or last_s <= 0:
        return "<p>Nothing was measured.</p>"
    ticks = _value_ticks(max(known), whole=unit != "ms")
    axes = Axes(last_s, ticks[-1])
    drawing = (
        _value_axis(axes, ticks, unit),
        _second_axis(axes),
        *(_drawn(axes, line) for line in lines if any(line.values) or len(lines) == 1),
        _marked(axes, mark),
        *(_tip(axes, span) for span in spans),
    )
    names = ", ".join(line.name for line in lines)
    return (
        f'{_legend(lines)}<div class="wide"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{text(names)}: {unit} over time">{"".join(drawing)}</svg></div>'
    )


def _legend(lines: Sequence[Line]) -> str:
    """Return what the colours mean. What there was none of has no line, and is said here."""
    if len(lines) == 1:
        return ""
    items = "".join(
        f'<li><span class="swatch {line.kind}"></span>{line.name}'
        f"{'' if any(line.values) else ': none'}</li>"
        for line in lines
    )
    return f'<ul class="legend">{items}</ul>'


# The axes.


def _value_ticks(highest: float, *, whole: bool) -> list[float]:
    """Return round numbers from 0 to `highest` or more; `whole` ones where a half means nothing."""
    rough = max(highest / VALUE_INTERVALS_MAX, float(whole)) or 1
    power = 10 ** math.floor(math.log10(rough))
    steps = (power * factor for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if step >= rough and (not whole or step == int(step)))
    return [step * number for number in range(max(1, math.ceil(highest / step)) + 1)]


def _second_ticks(last_s: float) -> list[float]:
    """Return round seconds within a run."""
    rough = last_s / SECOND_INTERVALS_MAX
    step = next((step for step in SECOND_STEPS if step >= rough), math.ceil(rough))
    return [step * number for number in range(int(last_s / step + 1e-9) + 1)]


def _value_axis(axes: Axes, ticks: Iterable[float], unit: str) -> str:
    lines = "".join(
        f'<path class="grid" d="M{LEFT} {axes.y(tick):.1f}H{RIGHT}"/>'
        f'<text class="end" x="{LEFT - 10}" y="{axes.y(tick) + 4:.1f}">{_tick(tick)}</text>'
        for tick in ticks
    )
    return f'{lines}<text x="{LEFT}" y="{TOP - 12}">{unit}</text>'


def _second_axis(axes: Axes) -> str:
    unit, name = (60, "minutes") if axes.last_s >= MINUTES_FROM_S else (1, "seconds")
    numbers = "".join(
        f'<text class="middle" x="{axes.x(tick):.1f}" y="{BOTTOM + 18}">{_tick(tick / unit)}</text>'
        for tick in _second_ticks(axes.last_s)
    )
    label = f'<text class="end" x="{RIGHT}" y="{HEIGHT - 6}">{name} since the start</text>'
    return f"{numbers}{label}"


# What is between them.


def _drawn(axes: Axes, line: Line) -> str:
    """Return a stretch of line between each two gaps; what is alone between them is a dot."""
    return "".join(
        _dot(points[0], line.kind) if len(points) == 1 else _stretch(points, line.kind)
        for points in _stretches(axes, line)
    )


def _stretches(axes: Axes, line: Line) -> list[list[tuple[float, float]]]:
    stretches: list[list[tuple[float, float]]] = [[]]
    for second, value in zip(line.at_s, line.values, strict=True):
        if value is not None:
            stretches[-1].append((axes.x(second), axes.y(value)))
        elif stretches[-1]:
            stretches.append([])
    return [points for points in stretches if points]


def _dot(point: tuple[float, float], kind: str) -> str:
    return f'<circle class="{kind}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3.5"/>'


def _stretch(points: Sequence[tuple[float, float]], kind: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    area = f"M{points[0][0]:.1f} {BOTTOM}L{path}L{points[-1][0]:.1f} {BOTTOM}Z"
    return f'<path class="area {kind}" d="{area}"/><path class="line {kind}" d="M{path}"/>'


def _marked(axes: Axes, mark: Mark | None) -> str:
    """Return a line and a word at a moment, on whichever side has room."""
    if mark is None:
        return ""
    x = axes.x(mark.at_s)
    side, away = ("end", -6) if x > RIGHT - MARK_WIDTH else ("start", 6)
    top = TOP if x < LEFT + MARK_WIDTH else TOP - 24  # the unit stands there
    return (
        f'<path class="mark" d="M{x:.1f} {top}V{BOTTOM}"/>'
        f'<text class="{side}" x="{x + away:.1f}" y="{top + 13}">{text(mark.word)}</text>'
    )


def _tip(axes: Axes, span: Span) -> str:
    """Return a strip that tells its values to a mouse held over it."""
    x = axes.x(span.begin_s)
    return (
        f'<rect x="{x:.1f}" y="{TOP}" width="{axes.x(span.end_s) - x:.1f}" '
        f'height="{BOTTOM - TOP}"><title>{text(span.tip)}</title></rect>'
    )


# Numbers and words.


def number(value: Number) -> str:
    """Return a number with as many digits as are worth reading."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) and (isinstance(value, int) or value == 0 or value >= 100):
        return f"{int(value):,}"
    places = next((places for places, least in enumerate((100, 10, 1)) if value >= least), 3)
    return f"{value:,.{places}f}"


def _tick(value: float) -> str:
    """Return a number that has room beside an axis."""
    return f"{value / MILLION:,.10g} M" if value >= MILLION else f"{value:,.10g}"


def text(value: object) -> str:
    """Escape for HTML. Half a surrogate pair, which no file can hold, becomes a question mark."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"))
