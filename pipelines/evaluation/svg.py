"""Plots as inline SVG: lines, steps of a histogram, bars with intervals. Colours are CSS classes s0, s1, ...

Small functions of our own rather than a plotting library: the report needs four kinds of plot, no script,
and must follow the reader's light or dark theme, which a picture with fixed colours cannot. All text passes
through `label`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from blockscan.safetext import safe_text

WIDTH, HEIGHT = 560, 330
COLOURS = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 44
_ROW, _NAMES = 24, 190

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: label, range, whether logarithmic. Values outside the range are drawn at its ends."""

    label: str
    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Place of a value, 0 to 1."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Powers of ten on a logarithmic axis, else round numbers, five or so."""
        if self.log:
            first, last = math.log10(self.low) - 1e-9, math.log10(self.high) + 1e-9
            return [10.0**power for power in range(math.ceil(first), math.floor(last) + 1)]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * (1 - 1e-9))
        first_step = math.ceil(self.low / step - 1e-9)
        return [step * each for each in range(first_step, math.floor(self.high / step + 1e-9) + 1)]


def label(text: str) -> str:
    """Text from anywhere, for HTML: one line, no markup."""
    return escape(safe_text(text), quote=True)


def line_chart(series: Mapping[str, Points], x: Axis, y: Axis, *, stepped: bool = False) -> str:
    """One line per series, with its legend. `stepped` holds each value until the next x."""
    parts = _frame(x, y)
    for number, points in enumerate(series.values()):
        path = _path(points, x, y, stepped=stepped)
        dash = ' stroke-dasharray="6 3"' if number >= COLOURS else ""
        parts.append(f'<path class="line {_class(number)}"{dash} d="{path}"/>')
    return _figure(parts, WIDTH, HEIGHT, f"{y.label} by {x.label}") + _legend(list(series))


def interval_bars(rows: Mapping[str, tuple[float, float, float, str]], *, name: str) -> str:
    """Horizontal bars from 0 to 1: (value, low, high, text behind it) by name."""
    height = _ROW * len(rows) + 30
    across = _horizontal(WIDTH - _NAMES - 120)
    parts = []
    for number, (row, (value, low, high, note)) in enumerate(rows.items()):
        middle, wide = _ROW * number + _ROW / 2, across(value) - _NAMES
        parts += [
            f'<text class="end" x="{_NAMES - 8}" y="{middle + 4:.1f}">{label(row)}</text>',
            f'<rect class="bar" x="{_NAMES}" y="{middle - 7:.1f}" width="{wide:.1f}" height="14"/>',
            f'<path class="whisker" d="M{across(low):.1f} {middle:.1f}H{across(high):.1f}"/>',
            f'<text x="{across(1) + 8:.1f}" y="{middle + 4:.1f}">{label(note)}</text>',
        ]
    for tick in (0, 0.5, 1):
        parts.append(f'<text class="mid" x="{across(tick):.1f}" y="{height - 8}">{tick:g}</text>')
    return _figure(parts, WIDTH, height, name)


def _horizontal(width: float) -> Callable[[float], float]:
    return lambda value: _NAMES + width * min(max(value, 0.0), 1.0)


def _frame(x: Axis, y: Axis) -> list[str]:
    """Grid, tick texts and axis labels."""
    parts = []
    for tick in x.ticks():
        at = _x(x.at(tick))
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="mid" x="{at:.1f}" y="{HEIGHT - _BOTTOM + 16}">{tick:.3g}</text>')
    for tick in y.ticks():
        at = _y(y.at(tick))
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 6}" y="{at + 4:.1f}">{tick:.3g}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="mid" x="{middle}" y="{HEIGHT - 8}">{label(x.label)}</text>')
    turn = f"translate(14 {(_TOP + HEIGHT - _BOTTOM) / 2}) rotate(-90)"
    parts.append(f'<text class="mid" transform="{turn}">{label(y.label)}</text>')
    return parts


def _path(points: Points, x: Axis, y: Axis, *, stepped: bool) -> str:
    words = []
    for number, (across, up) in enumerate(points):
        at, height = f"{_x(x.at(across)):.1f}", f"{_y(y.at(up)):.1f}"
        words.append(f"M{at} {height}" if not number else f"H{at}V{height}" if stepped else f"L{at} {height}")
    return "".join(words)


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _class(number: int) -> str:
    return f"s{number % COLOURS}"


def _legend(names: Sequence[str]) -> str:
    items = (f'<li class="{_class(number)}">{label(name)}</li>' for number, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _figure(parts: Sequence[str], width: float, height: float, name: str) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label(name)}">'
    return head + "".join(parts) + "</svg>"
