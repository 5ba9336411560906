"""The demo's document as text for people: short tables, a plot, every decision with its reasons."""

from __future__ import annotations

import textwrap
from typing import Any

from forebay.api.conditions import Reason
from forebay.api.meta import format_duration
from forebay.local.demo import plot
from forebay.runtime.columns import columns

_LEAST_WIDTH, _MOST_WIDTH = 60, 140
_PLOT_ROWS = 6
_SMOOTH_S = 6.0

Document = dict[str, Any]


def lines(document: Document, width: int) -> list[str]:
    """The whole report, no line longer than `width` where words allow it."""
    width = max(_LEAST_WIDTH, min(_MOST_WIDTH, width))
    parts = (
        [f"What happened in {document['seconds']:.0f} s"],
        _requests(document, width),
        _objectives(document),
        _plots(document, width),
        _decisions(document, width),
        _cost(document),
        _wrapped(_ending(document), width),
    )
    return [line for part in parts if part for line in ("", *part)]


def _requests(document: Document, width: int) -> list[str]:
    asked, cache = document["requests"], document["cache"]
    errors = ", ".join(f"{count} × {status if status != '0' else 'no answer'}" for status, count in asked["errors"].items()) or "none"
    rows = [("requests", "sent", "finished", "refused", "lost")]
    rows += [
        (name, *(str(counts[key]) for key in ("sent", "finished", "refused", "lost")))
        for name, counts in (*asked["classes"].items(), ("together", asked))
    ]
    said = [f"errors: {errors}" + (f"; {asked['heldBack']} held back by the demo itself" if asked["heldBack"] else "")]
    if cache["share"] is not None:
        asked_of_it = cache["hit"] + cache["collapsed"] + cache["miss"]
        said.append(
            f"cache: {cache['hit']} hits and {cache['collapsed']} that joined a request under way, of {asked_of_it} that it may answer"
            f" ({cache['share']:.0%}); {cache['bypass']} it may not"
        )
    return columns(rows) + _wrapped(said, width)


def _objectives(document: Document) -> list[str]:
    rows = [("objective", "class", "target", "seen", "attained", "of requests")]
    for row in document["objectives"]:
        attained = "-" if row["attainment"] is None else f"{row['attainment']:.1%}"
        tail = "-" if row["tailSeconds"] is None else format_duration(float(f"{row['tailSeconds']:.3g}"))
        name = f"{row['objective']} p{100 * row['quantile']:g}"
        rows.append((name, row["class"], format_duration(row["targetSeconds"]), tail, attained, str(row["requests"])))
    return columns(rows, left=2) if len(rows) > 1 else []


def _plots(document: Document, width: int) -> list[str]:
    """Demand above the replicas of each pool that ever had more than one, or of all where none had."""
    timeline, seconds = document["timeline"], document["seconds"]
    if not timeline or seconds <= 0:
        return []
    across = width - 8
    rates = plot.smooth([(moment["atSeconds"], moment["requestsPerSecond"]) for moment in timeline], _SMOOTH_S)
    found = ["requests per second", *plot.area(plot.columns(rates, seconds, across), _PLOT_ROWS)]
    found += plot.axis(seconds, across)
    names = list(timeline[0]["pools"])
    changed = [name for name in names if max(m["pools"][name]["onDemand"] + m["pools"][name]["spot"] for m in timeline) > 1]
    for name in changed or names:
        on_demand, spot = (_spans(timeline, lambda m, n=name, k=kind: m["pools"][n][k], seconds, across) for kind in ("onDemand", "spot"))
        found += [f"replicas of {name}: {plot.ON_DEMAND} on-demand, {plot.SPOT} spot", *plot.stacks(on_demand, spot)]
        found += plot.axis(seconds, across)
    if taken := document["reclaimed"]:
        moments = [(taken["atSeconds"], f"{taken['node']} is reclaimed"), (taken["goneAtSeconds"], "and gone")]
        found += plot.marks(moments, seconds, across)
    return found


def _spans(timeline: list[Document], value: Any, seconds: float, across: int) -> list[float]:
    return plot.columns([(moment["atSeconds"], value(moment)) for moment in timeline], seconds, across)


def _decisions(document: Document, width: int) -> list[str]:
    found = ["decisions that changed a pool (replicas: on-demand + spot)"]
    for decision in document["decisions"]:
        before, after = (f"{decision[when]['onDemand']} + {decision[when]['spot']}" for when in ("before", "after"))
        found.append(f"{decision['atSeconds']:+6.0f} s  {decision['pool']}: {before} → {after}")
        for why in decision["why"]:
            if why.startswith(Reason.WITHIN_LIMITS):
                continue
            found += textwrap.wrap(why, width, initial_indent=" " * 10, subsequent_indent=" " * 12)
    return found


def _cost(document: Document) -> list[str]:
    cost = document["cost"]
    rows = [("cost", "peak", "replica-hours", "spot", "used", "static peak")]
    for name, pool in cost["pools"].items():
        hours = sum(pool["replicaHours"].values())
        figures = f"{hours:.3f}", f"{pool['spotShare']:.0%}", _usd(pool["usedUsd"]), _usd(pool["staticPeakUsd"])
        rows.append((name, str(pool["peakReplicas"]), *figures))
    rows.append(("together", "", "", f"{cost['spotShare']:.0%}", _usd(cost["usedUsd"]), _usd(cost["staticPeakUsd"])))
    saved = cost["savedShare"]
    found = [*columns(rows), "static peak: the most replicas that were ever wanted, on-demand, all the time"]
    return found if saved is None else [*found, f"{saved:.0%} less than the static peak would have cost"]


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:.4f}"


def _ending(document: Document) -> list[str]:
    found = []
    if taken := document["reclaimed"]:
        after = taken["replacedAtSeconds"]
        back = f"replaced {after - taken['atSeconds']:.1f} s after the notice" if after is not None else "not replaced in time"
        found.append(
            f"Spot node {taken['node']} was reclaimed with {taken['streams']} requests in flight on it: {back}, and gone"
            f" {taken['goneAtSeconds'] - taken['atSeconds']:.0f} s after it."
        )
    if nearest := document["nearest"]:
        found.append(f"Nearest to “{nearest['query']}”: “{nearest['sentence']}” (cosine {nearest['cosine']:.2f}).")
    lost = document["requests"]["lost"]
    found.append("No accepted request was lost." if not lost else f"{lost} accepted requests were LOST.")
    return found


def _wrapped(sentences: list[str], width: int) -> list[str]:
    return [line for sentence in sentences for line in textwrap.wrap(sentence, width)]
