"""A study as one page of HTML: its plots and tables, with the figures of the document and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import inf
from typing import Any

from forebay.simulation.plot import Band, Line, Mark, Plot, drawn, stacked
from forebay.simulation.told import law_name, notes

Document = dict[str, Any]

_BLUE, _GREEN, _RED, _YELLOW, _GREY, _PURPLE = "#3b6fb5", "#2e7d4f", "#b3261e", "#c9a227", "#5b6875", "#7a4fa3"
_MARKS = {"lost": ("lost with its node", _RED), "stuck": ("start that never ends", _PURPLE)}
_KINDS = {"on-demand": _BLUE, "spot": _GREEN}

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1c2733; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .2rem .8rem .2rem 0 }
td, th { text-align: left; vertical-align: top }
.wide { overflow-x: auto } svg { width: 100%; min-width: 36rem; height: auto }
svg text { font-size: 11px; fill: #5b6875 } .missed { color: #b3261e; font-weight: 600 }
.key span { margin-right: 1.2rem; white-space: nowrap }
.key i { font-style: normal } .when { white-space: nowrap } .why { color: #5b6875 }
"""


_VIEW = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def html(document: Document) -> str:
    """The page of a study's document."""
    title = f"{escape(document['pool'])} under {escape(str(document.get('workload', 'a workload')))}"
    plots = [drawn(plot) for plot in (_replicas(document), *_latencies(document), _cost(document), _requests(document))]
    parts = (_figures, _objectives, _problems, _classes, _tenants, _comparison, _spread)
    tables = [part(document) for part in parts]
    body = [f"<h1>{title}</h1>", *tables, *plots, _befell(document), _decisions(document)]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_VIEW}<title>{title}</title><style>{_STYLE}</style></head>'
    return f"{head}<body>{''.join(body)}</body></html>\n"


def _hours(document: Document) -> float:
    return float(document["seconds"]) / 3600.0


def _column(document: Document, name: str) -> list[float | None]:
    return [row[name] for row in document["timeline"]]


def _marks(document: Document) -> list[Mark]:
    known = [(_MARKS[e["what"]], e["at"]) for e in document["events"]["listed"] if e["what"] in _MARKS]
    return [Mark(*what, min(1.0, at / max(1.0, document["seconds"]))) for what, at in known]


def _replicas(document: Document) -> Plot:
    expected, upper = _column(document, "forecast"), _column(document, "forecastUpper")
    lines = [
        Line("asked for", _YELLOW, _column(document, "replicas")),
        Line("ready", _GREEN, _column(document, "ready")),
        Line("demand, by what one replica holds", _GREY, _column(document, "demand"), dashed=True),
        Line("expected at that time", _BLUE, expected),
    ]
    band = Band("up to the forecast's bound", _BLUE, expected, upper)
    return Plot("Replicas against demand", _hours(document), lines, [band], _marks(document))


def _latencies(document: Document) -> list[Plot]:
    """One for each class, with its target where it is promised a first token. An embedding comes whole, at one time."""
    what, promises = ("Time to first token", {"timeToFirstToken"})
    if document["task"] == "Embeddings":
        what, promises = "Time to answer", {"timeToFirstToken", "endToEnd"}
    targets: dict[str, float] = {}
    for promised in (o for o in document["objectives"] if o["objective"] in promises):
        targets[promised["class"]] = min(promised["targetSeconds"], targets.get(promised["class"], inf))
    plots = []
    for name in sorted({name for row in document["timeline"] for name in row["classes"]}):
        lines = [
            Line(quantile, colour, [row["classes"].get(name, {}).get(f"{quantile}Seconds") for row in document["timeline"]])
            for quantile, colour in (("p99", _RED), ("p50", _BLUE))
        ]
        if name in targets:
            lines.append(Line("target", _GREY, [targets[name]] * len(document["timeline"]), dashed=True))
        plots.append(Plot(f"{what} of {name}, seconds", _hours(document), lines, (), _marks(document), wide=True))
    return plots


def _cost(document: Document) -> Plot:
    # What costs nothing all the time is not there, as spot nodes of a pool without spot; what has no price is.
    kinds = sorted({kind for row in document["timeline"] for kind, usd in row["usdPerHour"].items() if usd != 0.0})
    parts = [(kind, _KINDS.get(kind, _GREY), [row["usdPerHour"].get(kind) for row in document["timeline"]]) for kind in kinds]
    return Plot("Dollars per hour", _hours(document), (), stacked(parts))


def _requests(document: Document) -> Plot:
    return Plot("Requests per second", _hours(document), [Line("arrived", _BLUE, _column(document, "requestsPerSecond"))])


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{body}</table>"
    return f'<h2>{title}</h2><div class="wide">{table}</div>'


def _dollars(usd: float | None) -> str:
    return "unknown: not every accelerator has a price" if usd is None else f"${usd:,.2f}"


def _span(seconds: float) -> str:
    return (
        f"{seconds / 3600.0:.2f} hours" if seconds >= 3600.0 else f"{seconds / 60.0:.1f} minutes" if seconds >= 60.0 else f"{seconds:g} s"
    )


def _figures(document: Document) -> str:
    requests, replicas, events = document["requests"], document["replicas"], document["events"]
    counts = f"{requests['answered']:,} answered, {requests['refused']:,} refused, {requests['lost']:,} lost"
    befell = f"{events['interrupted']} interrupted, {events['lost']} lost with their nodes, {events['stuck']} starts stuck"
    rows = [
        ("Simulated", f"{_span(document['seconds'])}, replicas start in {document['startSeconds']:g} s, seed {document['seed']}"),
        *(("Assumed", escape(said)) for said in document.get("assumed", [])),
        ("Requests", f"{counts}, {requests['retried']:,} tried again"),
        ("Replicas", f"{replicas['mean']:.2f} on average, {replicas['most']} at most"),
        ("Replica hours", ", ".join(f"{escape(name)} {hours:.2f}" for name, hours in replicas["hours"].items())),
        ("What befell them", befell),
        ("Cost", _dollars(document["usd"])),
    ]
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{value}</td></tr>' for name, value in rows)}</table>"


def _objectives(document: Document) -> str:
    rows = []
    for row in document["objectives"]:
        quantiles = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in row["seconds"].items() if seconds is not None)
        target = f"p{100 * row['quantile']:g} &lt; {row['targetSeconds']:g} s"
        verdict = "" if row["met"] else '<span class="missed">missed</span>'
        rows.append((escape(row["class"]), row["objective"], target, f"{100 * row['attainment']:.2f} %", quantiles, verdict))
    if not rows:
        return "<p>No class promises a latency.</p>"
    return _table("Objectives", ("Class", "Objective", "Target", "Within", "Quantiles of answered ones", ""), rows)


def _problems(document: Document) -> str:
    rows = [(p["type"], p["reason"], f"{p['share']:.1%}", escape(p["message"])) for p in document["problems"]]
    return _table("What stood against it", ("Condition", "Reason", "Of decisions", "At last"), rows) if rows else ""


def _tenants(document: Document) -> str:
    keys = ("answered", "refused", "lost", "inputTokens", "outputTokens")
    rows = [(escape(t["name"] or "none"), *(f"{t[key]:,}" for key in keys), f"{100 * t['attainment']:.2f} %") for t in document["tenants"]]
    head = ("Tenant", "Answered", "Refused", "Lost", "Input tokens", "Output tokens", "Within all")
    return _table("Tenants", head, rows) if rows else ""


def _classes(document: Document) -> str:
    rows = [
        (escape(c["name"]), str(c["priority"]), f"{c['answered']:,}", f"{c['refused']:,}", f"{c['lost']:,}") for c in document["classes"]
    ]
    return _table("Classes", ("Class", "Priority", "Answered", "Refused", "Lost"), rows)


def _comparison(document: Document) -> str:
    """Our own row first, then those of the laws."""
    if not document.get("comparison"):
        return ""
    hours = sum(document["replicas"]["hours"].values())
    ours = {**document, "law": "forebay", "replicas": {"mean": document["replicas"]["mean"], "hours": hours}}
    promised = (f"{escape(o['class'])}/{o['objective']}" for o in document["objectives"])
    head = ("Law", "Replicas", "Hours", "Cost", "Refused", "Lost", *promised)
    rows = []
    for row in (ours, *document["comparison"]):
        requests = row["requests"]
        counts = (f"{row['replicas']['mean']:.2f}", f"{row['replicas']['hours']:.2f}", _dollars(row["usd"]))
        gone = (f"{requests['refused']:,}", f"{requests['lost']:,}")
        rows.append((escape(law_name(row)), *counts, *gone, *(f"{100 * o['attainment']:.2f} %" for o in row["objectives"])))
    said = "".join(f"<p>{escape(note)}.</p>" for note in notes(document["comparison"], first_seed=bool(document.get("spread"))))
    return _table("Beside other laws", head, rows) + said


def _spread(document: Document) -> str:
    if not document.get("spread"):
        return ""
    rows = [(escape(name), f"{s['mean']:.4g}", f"{s['least']:.4g}", f"{s['most']:.4g}") for name, s in document["spread"].items()]
    return _table(f"Over {len(document['seeds'])} seeds", ("Figure", "Mean", "Least", "Most"), rows)


def _befell(document: Document) -> str:
    listed = document["events"]["listed"]
    rows = [(f"{e['at'] / 3600:.3f} h", e["what"], escape(e["replica"])) for e in listed]
    return _table("What befell replicas", ("At", "What", "Replica"), rows) if rows else ""


def _decisions(document: Document) -> str:
    why = (f'<span class="why">{escape("; ".join(d["why"]))}</span>' for d in document["decisions"])
    rows = [
        (f'<span class="when">{escape(d["time"])}</span>', str(d["replicas"]), text)
        for d, text in zip(document["decisions"], why, strict=True)
    ]
    return _table("Decisions", ("Time", "Replicas", "Why"), rows) if rows else "<p>No decision changed a count.</p>"
