"""Plots drawn as SVG by hand: lines, bands, stacked areas and marks over one axis of time; no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

Values = Sequence[float | None]
"""One for each span of time; None leaves a gap."""

WIDE, MOST_POWERS = 20.0, 6
"""A logarithmic scale is for values that differ by more than this, and has at most so many powers of ten."""

_UNITS = ((96.0, 24.0, "d"), (2.0, 1.0, "h"), (1 / 30.0, 1 / 60.0, "min"), (0.0, 1 / 3600.0, "s"))
"""From so many hours on an axis is in units of so many hours."""

_WIDTH, _HEIGHT, _LEFT, _ABOVE, _BELOW = 960, 220, 64, 10, 24


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    colour: str
    values: Values
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """Between two lines."""

    name: str
    colour: str
    low: Values
    high: Values


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, as a share of the whole time."""

    name: str
    colour: str
    at: float


@dataclass(frozen=True, slots=True)
class Plot:
    """A title, hours of the axis, and what is drawn over each other, bands first.

    `wide` is for values of several sizes: where the largest is many times the smallest its scale is logarithmic.
    """

    title: str
    hours: float
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()
    wide: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    """From the bottom of the plot to its top, by powers of ten where `logarithmic`."""

    bottom: float
    top: float
    logarithmic: bool = False

    def y(self, value: float) -> float:
        if self.logarithmic:
            share = (log10(max(value, self.bottom)) - log10(self.bottom)) / (log10(self.top) - log10(self.bottom))
        else:
            share = value / self.top
        return _ABOVE + (_HEIGHT - _BELOW - _ABOVE) * (1 - min(share, 1.0))

    def ticks(self) -> list[float]:
        if not self.logarithmic:
            return [self.top * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        first, last = round(log10(self.bottom)), round(log10(self.top))
        return [10.0**power for power in range(first, last + 1)]


def _scale(plot: Plot) -> _Scale:
    series = [line.values for line in plot.lines] + [band.high for band in plot.bands]
    values = [v for values in series for v in values if v is not None]
    least, most = min((v for v in values if v > 0), default=0.0), max(values, default=0.0)
    if plot.wide and 0 < WIDE * least < most:
        top = 10.0 ** ceil(log10(most) - 1e-9)
        return _Scale(max(10.0 ** floor(log10(least) + 1e-9), top / 10**MOST_POWERS), top, logarithmic=True)
    return _Scale(0.0, _nice(most))


def stacked(parts: Sequence[tuple[str, str, Values]]) -> list[Band]:
    """Name, colour and values of each, one upon the other."""
    bands: list[Band] = []
    below: list[float | None] = [0.0] * max((len(values) for _, _, values in parts), default=0)
    for name, colour, values in parts:
        above = [None if b is None or v is None else b + v for b, v in zip(below, values, strict=True)]
        bands.append(Band(name, colour, below, above))
        below = above
    return bands


def drawn(plot: Plot) -> str:
    """The plot as HTML, with its key."""
    scale, height = _scale(plot), _HEIGHT - _BELOW
    parts = _axes(scale, plot.hours)
    parts += [_area(band, scale) for band in plot.bands]
    parts += [
        f'<line x1="{_x(mark.at):.1f}" x2="{_x(mark.at):.1f}" y1="{_ABOVE}" y2="{height}" stroke="{mark.colour}" stroke-dasharray="2 3"/>'
        for mark in plot.marks
    ]
    parts += [_path(line, scale) for line in plot.lines]
    named: list[Line | Band | Mark] = [*plot.lines, *plot.bands, *plot.marks]
    listed = dict.fromkeys((part.name, part.colour, _SWATCHES[type(part)]) for part in named)
    key = " ".join(f'<span><i style="color:{colour}{style}">■</i> {escape(name)}</span>' for name, colour, style in listed)
    title = escape(plot.title)
    drawing = f'<svg viewBox="0 0 {_WIDTH + 24} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return f'<h2>{title}</h2><div class="key">{key}</div><div class="wide">{drawing}</div>'


_SWATCHES: dict[type, str] = {Line: "", Band: ";opacity:.35", Mark: ""}


def _axes(scale: _Scale, hours: float) -> list[str]:
    unit, name = next((unit, name) for least, unit, name in _UNITS if hours >= least)
    anchors = ["middle"] * 6 + ["end"]
    parts = [
        f'<text x="{_x(i / 6):.0f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{hours / unit * i / 6:.3g} {name}</text>'
        for i, anchor in enumerate(anchors)
    ]
    for value in scale.ticks():
        y = scale.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e8ee"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    return parts


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT) * share


def _path(line: Line, scale: _Scale) -> str:
    runs = _runs([None if v is None else (v,) for v in line.values])
    steps = ["M" + "L".join(f"{x:.1f} {scale.y(value):.1f}" for x, (value,) in run) for run in runs]
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    return f'<path d="{" ".join(steps)}" fill="none" stroke="{line.colour}" stroke-width="1.6"{dashes}/>'


def _area(band: Band, scale: _Scale) -> str:
    """One closed shape for each run without a gap."""
    shapes: list[str] = []
    both = zip(band.low, band.high, strict=True)
    for run in _runs([None if low is None or high is None else (low, high) for low, high in both]):
        way = [f"{x:.1f} {scale.y(high):.1f}" for x, (_, high) in run] + [f"{x:.1f} {scale.y(low):.1f}" for x, (low, _) in reversed(run)]
        shapes.append("M" + "L".join(way) + "Z")
    return f'<path d="{" ".join(shapes)}" fill="{band.colour}" fill-opacity="0.22" stroke="none"/>'


def _runs(values: Sequence[tuple[float, ...] | None]) -> list[list[tuple[float, tuple[float, ...]]]]:
    """Values without a gap between them, with the places of their spans' middles. One that is alone is drawn over its whole span."""
    runs: list[list[tuple[float, tuple[float, ...]]]] = []
    before: tuple[float, ...] | None = None
    for i, value in enumerate(values):
        if value is not None:
            if before is None:
                runs.append([])
            runs[-1].append((_x((i + 0.5) / len(values)), value))
        before = value
    half = (_x(1.0) - _x(0.0)) / (2 * len(values)) if values else 0.0
    return [[(run[0][0] - half, run[0][1]), (run[0][0] + half, run[0][1])] if len(run) == 1 else run for run in runs]


def _nice(most: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(most))
    return next(unit * step for step in (1.0, 2.0, 5.0, 10.0) if unit * step >= most * (1 - 1e-9))
