"""Plots drawn as SVG by hand: lines, bands, stacked areas and marks over one axis of time; no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

Values = Sequence[float | None]
"""One for each span of time; None leaves a gap."""

_WIDTH, _HEIGHT, _LEFT, _BELOW = 960, 220, 64, 24


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
    """A title, hours of the axis, and what is drawn over each other, bands first."""

    title: str
    hours: float
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()


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
    series = [line.values for line in plot.lines] + [band.high for band in plot.bands]
    top, height = _nice(max((v for values in series for v in values if v is not None), default=0.0)), _HEIGHT - _BELOW
    parts = _axes(top, plot.hours, height)
    parts += [_area(band, top, height) for band in plot.bands]
    parts += [
        f'<line x1="{_x(mark.at):.1f}" x2="{_x(mark.at):.1f}" y1="4" y2="{height}" stroke="{mark.colour}" stroke-dasharray="2 3"/>'
        for mark in plot.marks
    ]
    parts += [_path(line, top, height) for line in plot.lines]
    named: list[Line | Band | Mark] = [*plot.lines, *plot.bands, *plot.marks]
    listed = dict.fromkeys((part.name, part.colour) for part in named)
    key = "".join(f'<span style="color:{colour}">■ {escape(name)}</span>' for name, colour in listed)
    title = escape(plot.title)
    drawing = f'<svg viewBox="0 0 {_WIDTH + 24} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return f'<h2>{title}</h2><div class="key">{key}</div>{drawing}'


def _axes(top: float, hours: float, height: float) -> list[str]:
    parts = [f'<text x="{_x(i / 6):.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{hours * i / 6:.3g} h</text>' for i in range(7)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(top * share, top, height)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e8ee"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:g}</text>')
    return parts


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT) * share


def _y(value: float, top: float, height: float) -> float:
    return 4 + (height - 4) * (1 - min(value / top, 1.0))


def _path(line: Line, top: float, height: float) -> str:
    steps, pen = [], "M"
    for i, value in enumerate(line.values):
        if value is None:
            pen = "M"
            continue
        steps.append(f"{pen}{_x((i + 0.5) / len(line.values)):.1f} {_y(value, top, height):.1f}")
        pen = "L"
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    return f'<path d="{" ".join(steps)}" fill="none" stroke="{line.colour}" stroke-width="1.6"{dashes}/>'


def _area(band: Band, top: float, height: float) -> str:
    """One closed shape for each run without a gap."""
    shapes: list[str] = []
    run: list[tuple[float, float, float]] = []
    for i, (low, high) in enumerate([*zip(band.low, band.high, strict=True), (None, None)]):
        if low is not None and high is not None:
            run.append((_x((i + 0.5) / len(band.low)), _y(low, top, height), _y(high, top, height)))
        elif run:
            way = [f"{x:.1f} {up:.1f}" for x, _, up in run] + [f"{x:.1f} {down:.1f}" for x, down, _ in reversed(run)]
            shapes.append("M" + "L".join(way) + "Z")
            run = []
    return f'<path d="{" ".join(shapes)}" fill="{band.colour}" fill-opacity="0.22" stroke="none"/>'


def _nice(most: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(most))
    return next(unit * step for step in (1.0, 2.0, 5.0, 10.0) if unit * step >= most * (1 - 1e-9))
