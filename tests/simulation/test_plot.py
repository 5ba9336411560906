"""Plots as SVG: what is drawn where."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from forebay.simulation.plot import Band, Line, Plot, drawn

BLUE = "#3b6fb5"


def svg(plot: Plot) -> ET.Element:
    text = drawn(plot)
    return ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


def labels(plot: Plot) -> list[str]:
    return [e.text or "" for e in svg(plot).iter("text")]


def places(path: str) -> list[tuple[float, float]]:
    pairs = path.replace("M", " ").replace("L", ",").replace("Z", " ").replace(",", " ").split()
    return [(float(x), float(y)) for x, y in zip(pairs[::2], pairs[1::2], strict=True)]


def heights(plot: Plot) -> list[float]:
    """Of the first line's values."""
    (path, *_) = [e for e in svg(plot).iter("path") if e.get("fill") == "none"]
    return [y for _, y in places(path.get("d") or "")]


@pytest.mark.parametrize(("hours", "last"), [(336.0, "14 d"), (6.0, "6 h"), (0.5, "30 min"), (5 / 3600, "5 s")])
def test_an_axis_has_the_unit_of_its_length(hours: float, last: str) -> None:
    """Five seconds ended at 0.00139 h, which did not fit beside the plot."""
    assert last in labels(Plot("p", hours, [Line("a", BLUE, [1.0, 2.0])]))


def test_a_value_between_gaps_is_drawn_over_its_span() -> None:
    """A path of one point is not drawn: where requests are rare there was nothing to see."""
    plot = Plot("p", 1.0, [Line("a", BLUE, [None, 2.0, None, None])], [Band("b", BLUE, [1.0, None, None, None], [2.0, None, None, None])])
    area, line = (places(e.get("d") or "") for e in svg(plot).iter("path"))
    (left, _), (right, _) = line
    assert right - left == pytest.approx((960 - 64) / 4, abs=0.2) and left == pytest.approx(64 + (960 - 64) / 4, abs=0.2)
    assert max(x for x, _ in area) - min(x for x, _ in area) == pytest.approx((960 - 64) / 4, abs=0.2)


def test_latencies_of_several_sizes_are_told_apart() -> None:
    """A minute at a cold start pressed all others to the ground."""
    values = [80.0, 0.3, 0.1]
    linear, wide = (heights(Plot("p", 1.0, [Line("a", BLUE, values)], wide=wide)) for wide in (False, True))
    assert linear[2] - linear[1] < 1 < 20 < wide[2] - wide[1] and wide[0] < wide[1]
    assert labels(Plot("p", 1.0, [Line("a", BLUE, values)], wide=True))[7:] == ["0.1", "1", "10", "100"]
    assert labels(Plot("p", 1.0, [Line("a", BLUE, [2.0, 1.0])], wide=True))[7:] == ["0", "0.5", "1", "1.5", "2"]


@pytest.mark.parametrize("values", [[], [None, None], [0.0, 0.0], [1e-9, 1e9], [0.0, 50.0]])
def test_whatever_the_values_there_is_a_plot_within_its_frame(values: list[float | None]) -> None:
    for wide in (False, True):
        found = svg(Plot("p", 0.0, [Line("a", BLUE, values)], [Band("b", BLUE, values, values)], wide=wide))
        drawn_at = [place for e in found.iter("path") for place in places(e.get("d") or "")]
        assert all(64 <= x <= 960 and 4 <= y <= 196 for x, y in drawn_at)
