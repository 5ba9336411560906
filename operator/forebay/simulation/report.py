"""A study as one page of HTML: plots drawn as SVG, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, log10
from typing import Any

Document = dict[str, Any]
Series = tuple[str, str, Sequence[float | None]]
"""Name, colour and values; None leaves a gap."""

_WIDTH, _HEIGHT, _LEFT, _BELOW = 960, 220, 64, 24

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1c2733 }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .2rem .8rem .2rem 0 }
td, th { text-align: left; vertical-align: top }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: #5b6875 } .missed { color: #b3261e; font-weight: 600 }
.key span { margin-right: 1.2rem } .why { color: #5b6875 }
"""


def html(document: Document) -> str:
    """The page of a study's document."""
    line = document["timeline"]
    hours = document["seconds"] / 3600.0

    def of(name: str) -> list[float | None]:
        return [row[name] for row in line]

    plots = [
        _plot("Requests per second", hours, [("arrived", "#3b6fb5", of("requestsPerSecond"))]),
        _plot("Replicas", hours, [("asked for", "#c9a227", of("replicas")), ("ready", "#2e7d4f", of("ready"))]),
        _plot("Time to first token, seconds", hours, [("p99", "#b3261e", of("p99Seconds")), ("p50", "#3b6fb5", of("p50Seconds"))]),
    ]
    title = f"{escape(document['pool'])} under {escape(str(document.get('workload', 'a workload')))}"
    body = [f"<h1>{title}</h1>", _figures(document), _objectives(document), *plots, _decisions(document)]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
    return f"{head}<body>{''.join(body)}</body></html>\n"


def _figures(document: Document) -> str:
    requests, replicas, usd = document["requests"], document["replicas"], document["usd"]
    rows = [
        ("Simulated", f"{document['seconds'] / 3600:.2f} hours, replicas start in {document['startSeconds']:g} s, seed {document['seed']}"),
        ("Requests", f"{requests['answered']:,} answered, {requests['refused']:,} refused, {requests['lost']:,} lost"),
        ("Replicas", f"{replicas['mean']:.2f} on average, {replicas['most']} at most"),
        ("Replica hours", ", ".join(f"{escape(name)} {hours:.2f}" for name, hours in replicas["hours"].items())),
        ("Cost", "unknown: not every accelerator has a price" if usd is None else f"${usd:,.2f}"),
    ]
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{value}</td></tr>' for name, value in rows)}</table>"


def _objectives(document: Document) -> str:
    rows = ["<tr><th>Class</th><th>Objective</th><th>Target</th><th>Within</th><th>Quantiles</th><th></th></tr>"]
    for row in document["objectives"]:
        quantiles = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in row["seconds"].items())
        target = f"p{100 * row['quantile']:g} &lt; {row['targetSeconds']:g} s"
        verdict = "" if row["met"] else '<span class="missed">missed</span>'
        cells = (escape(row["class"]), row["objective"], target, f"{100 * row['attainment']:.2f} %", quantiles, verdict)
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<h2>Objectives</h2><table>{''.join(rows)}</table>" if len(rows) > 1 else "<p>No class promises a latency.</p>"


def _decisions(document: Document) -> str:
    rows = [
        f"<tr><td>{escape(d['time'])}</td><td>{d['replicas']}</td><td class='why'>{escape('; '.join(d['why']))}</td></tr>"
        for d in document["decisions"]
    ]
    return f"<h2>Decisions</h2><table><tr><th>Time</th><th>Replicas</th><th>Why</th></tr>{''.join(rows)}</table>"


def _plot(title: str, hours: float, series: Sequence[Series]) -> str:
    most = max((v for _, _, values in series for v in values if v is not None), default=0.0)
    top = _nice(most)
    height = _HEIGHT - _BELOW
    lines = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = 4 + (height - 4) * (1 - share)
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e8ee"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:g}</text>')
    for i in range(7):
        x = _LEFT + (_WIDTH - _LEFT) * i / 6
        lines.append(f'<text x="{x:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{hours * i / 6:.3g} h</text>')
    lines += [_path(values, colour, top, height) for _, colour, values in series]
    key = "".join(f'<span style="color:{colour}">■ {name}</span>' for name, colour, _ in series)
    drawing = f'<svg viewBox="0 0 {_WIDTH + 24} {_HEIGHT}" role="img" aria-label="{title}">{"".join(lines)}</svg>'
    return f'<h2>{title}</h2><div class="key">{key}</div>{drawing}'


def _path(values: Sequence[float | None], colour: str, top: float, height: float) -> str:
    steps, pen = [], "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x = _LEFT + (_WIDTH - _LEFT) * (i + 0.5) / len(values)
        steps.append(f"{pen}{x:.1f} {4 + (height - 4) * (1 - min(value / top, 1.0)):.1f}")
        pen = "L"
    return f'<path d="{" ".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _nice(most: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(most))
    return next(unit * step for step in (1.0, 2.0, 5.0, 10.0) if unit * step >= most * (1 - 1e-9))
