"""Line charts as inline SVG, without a library, a script or a style attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from equiprop.cli.markup import text_of

#: Size of a chart and its margins: left, right, top, bottom.
_WIDTH, _HEIGHT = 640.0, 360.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 34.0, 12.0, 42.0
#: Most points of a line, and the ratio of values from which the axis is logarithmic.
_POINTS, _RATIO = 600, 30.0
COLOURS = 8
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes
    ----------
    number : int
        Number of the run, from 0, which gives colour and dashes.
    name : str
    points : sequence of (x, y)
    """

    number: int
    name: str
    points: Sequence[tuple[float, float]]


def stroke(number: int) -> str:
    """Return the attributes of a line: eight colours, then the same ones with other dashes."""
    dash = _DASHES[number // COLOURS % len(_DASHES)]
    return f'class="line c{number % COLOURS}"' + (f' stroke-dasharray="{dash}"' if dash else "")


@dataclass(frozen=True)
class _Axis:
    """A linear or logarithmic map from values to positions."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, x = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (x - low) / (high - low)

    def ticks(self) -> Iterator[float]:
        """Yield round values: decades, or multiples of 1, 2 or 5 times a power of ten."""
        if self.log:
            for power in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1):
                yield 10.0**power
            return
        rough = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(rough))
        step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
        for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield k * step


def chart(title: str, lines: Sequence[Line], caption: str) -> str:
    """Return a figure with one line for each run, or an empty text if there are no points."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    xs, ys = ([point[k] for line in lines for point in line.points] for k in (0, 1))
    log = min(ys) > 0 and max(ys) / min(ys) > _RATIO
    low = min(ys) / 1.2 if log else min(0.0, min(ys))
    high = max(ys) * 1.2 if log else (max(ys) * 1.05 if max(ys) > low else low + 1.0)
    x_axis = _Axis(min(xs), max(max(xs), min(xs) + 1), _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis(low, high, _HEIGHT - _BOTTOM, _TOP, log)
    scale = ", logarithmic scale" if log else ""
    parts = [*_grid(x_axis, y_axis), *(_line(line, x_axis, y_axis) for line in lines)]
    parts += _labels(lines, y_axis)
    label = text_of(f"{title} of {len(lines)} runs by epoch{scale}")
    svg = f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}">'
    heading = f"<strong>{text_of(title)}.</strong> {text_of(caption)}{scale.replace(', l', ' L')}"
    return f"<figure>{svg}{''.join(parts)}</svg><figcaption>{heading}</figcaption></figure>"


def _grid(x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    for y in y_axis.ticks():
        at = y_axis.at(y)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.6g}</text>'
    for x in x_axis.ticks():
        if x == int(x):
            yield f'<text x="{x_axis.at(x):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{x:g}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">epoch</text>'


def _line(line: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    stride = -(-len(line.points) // _POINTS)
    points = [*line.points[::stride], line.points[-1]]
    places = [f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points]
    x, y = places[-1].split(",")
    dot = f'<circle class="dot c{line.number % COLOURS}" cx="{x}" cy="{y}" r="3"/>'
    title = f"<title>{line.number + 1}: {text_of(line.name)}</title>"
    path = f'<polyline {stroke(line.number)} points="{" ".join(places)}"/>'
    return f"<g>{title}{path}{dot}</g>"


def _labels(lines: Sequence[Line], y_axis: _Axis) -> Iterator[str]:
    """Yield the numbers of the runs at the ends of their lines, without overlaps; too many are left out."""
    distance = 12.0
    if len(lines) * distance > _HEIGHT - _TOP - _BOTTOM:
        return
    ends = sorted((y_axis.at(line.points[-1][1]), line.number) for line in lines)
    places = [y for y, _ in ends]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + distance)
    bound = _HEIGHT - _BOTTOM
    for k in reversed(range(len(places))):
        places[k] = min(places[k], bound)
        bound = places[k] - distance
    for y, (_, number) in zip(places, ends, strict=True):
        yield f'<text x="{_WIDTH - _RIGHT + 8}" y="{y + 4:.1f}">{number + 1}</text>'
