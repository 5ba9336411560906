"""Figures over time as block characters: an area for a rate, stacked blocks for replicas."""

from __future__ import annotations

import math

_EIGHTHS = " ▁▂▃▄▅▆▇█"
ON_DEMAND, SPOT = "█", "▒"
_LABEL = 5
"""Characters before the axis."""


def columns(values: list[tuple[float, float]], seconds: float, width: int) -> list[float]:
    """The mean of (moment, value) pairs in each of `width` equal spans; an empty span repeats the one before."""
    sums, counts = [0.0] * width, [0] * width
    for at_s, value in values:
        index = min(width - 1, max(0, int(at_s / seconds * width)))
        sums[index] += value
        counts[index] += 1
    result: list[float] = []
    for total, count in zip(sums, counts, strict=True):
        result.append(total / count if count else (result[-1] if result else 0.0))
    return result


def smooth(values: list[tuple[float, float]], span_s: float) -> list[tuple[float, float]]:
    """Each value as the mean of those within half a span of it."""
    near = [[value for at_s, value in values if abs(at_s - middle) <= span_s / 2] for middle, _ in values]
    return [(at_s, sum(some) / len(some)) for (at_s, _), some in zip(values, near, strict=True)]


def area(heights: list[float], rows: int) -> list[str]:
    """An area chart, its top line first; the scale begins at 0 and is written beside the first and the middle line."""
    top = _nice(max(heights, default=0.0))
    lines = []
    for row in reversed(range(rows)):
        cells = (_EIGHTHS[max(0, min(8, round((height / top * rows - row) * 8)))] for height in heights)
        scale = f"{top * (row + 1) / rows:g}" if row == rows - 1 or (rows % 2 == 0 and row == rows // 2 - 1) else ""
        lines.append(f"{scale:>{_LABEL}} ┤{''.join(cells)}")
    return lines


def stacks(on_demand: list[float], spot: list[float]) -> list[str]:
    """One line for each replica, the most of them first: on-demand below, spot on top of it."""
    pairs = [(round(low), round(low + high)) for low, high in zip(on_demand, spot, strict=True)]
    lines = []
    for row in range(max((top for _, top in pairs), default=0), 0, -1):
        cells = (ON_DEMAND if row <= low else SPOT if row <= top else " " for low, top in pairs)
        lines.append(f"{row:>{_LABEL}} ┤{''.join(cells)}")
    return lines


def axis(seconds: float, width: int, every_s: float = 30.0) -> list[str]:
    """The time axis with a mark every so many seconds."""
    line, labels = ["─"] * width, [" "] * width
    for number in range(int(seconds / every_s) + 1):
        at = min(width - 1, int(number * every_s / seconds * width))
        text = f"{number * every_s:g} s"
        line[at] = "┴"
        begin = max(0, min(at, width - len(text)))
        labels[begin : begin + len(text)] = text
    return [f"{'':>{_LABEL}} └{''.join(line)}", f"{'':>{_LABEL}}  {''.join(labels).rstrip()}"]


def marks(moments: list[tuple[float, str]], seconds: float, width: int) -> list[str]:
    """A line for each moment with an arrow up to the axis and what happened then; on the arrow's other side where there is no room."""
    lines = []
    for at_s, text in moments:
        at = min(width - 1, int(at_s / seconds * width))
        said = f"{' ' * at}▲ {text}" if at + len(text) + 2 <= width else f"{text} ▲".rjust(at + 1)
        lines.append(f"{'':>{_LABEL}}  {said}")
    return lines


def _nice(most: float) -> float:
    """A round number that is not less."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    return next(step * unit for step in (1.0, 2.0, 4.0, 5.0, 8.0, 10.0) if step * unit >= most)
