"""What `forebay simulate` says: how far it is, the figures that matter, and the report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.cli.values import writable
from forebay.runtime.columns import columns
from forebay.runtime.errors import ForebayError, UsageError
from forebay.simulation.told import law_name, notes

_BAR = 24

TENANTS_TOLD = 10
"""Tenants on the terminal; the document has more of them."""


def span(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}h {whole % 3600 // 60:02}m" if whole >= 3600 else f"{whole // 60}m {whole % 60:02}s"


class Progress:
    """Says on a terminal's standard error how far the virtual clock is; elsewhere nothing. `share` tells how much has been simulated."""

    def __init__(self, what: str, share: Callable[[float], float]) -> None:
        self._what, self._share = what, share

    def __enter__(self) -> Callable[[float, int], None]:
        self._shown = 0.0
        return self._tell

    def _tell(self, at_s: float, requests: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._shown > 0.2:
            self._shown = now
            done = self._share(at_s)
            bar = "█" * round(_BAR * done) + "░" * (_BAR - round(_BAR * done))
            print(f"\r{self._what}{bar} {done:4.0%} {span(at_s)}, {requests:,} requests", end="\x1b[K", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def lines(document: dict[str, Any], took_s: float) -> list[str]:
    """The figures that matter, for a terminal."""
    requests, replicas, events = document["requests"], document["replicas"], document["events"]
    usd = document["usd"]
    befell = ", ".join(f"{events[what]:,} {what}" for what in ("interrupted", "lost", "stuck") if events[what])
    head = [
        f"{document['pool']}: {span(document['seconds'])} of {document['workload']} in {took_s:.1f} s",
        *(f"assumed   {said}" for said in document["assumed"]),
        f"requests  {requests['answered']:,} answered, {requests['refused']:,} refused, {requests['lost']:,} lost"
        + (f", {requests['retried']:,} tried again" if requests["retried"] else ""),
        f"replicas  {replicas['mean']:.2f} on average, {replicas['most']} at most, {sum(replicas['hours'].values()):.2f} hours in all"
        + (f"; {befell}" if befell else ""),
        f"cost      {'unknown: not every accelerator has a price' if usd is None else f'${usd:,.2f}'}",
    ]
    rows = [("CLASS", "OBJECTIVE", "TARGET", "WITHIN", "ANSWERED P50", "P99", "")]
    for row in document["objectives"]:
        seconds = row["seconds"]
        target = f"p{100 * row['quantile']:g} < {row['targetSeconds']:g}s"
        within = f"{100 * row['attainment']:.2f} %"
        met = "" if row["met"] else "missed"
        rows.append((row["class"], row["objective"], target, within, _time(seconds["p50"]), _time(seconds["p99"]), met))
    table = columns(rows, left=3) if len(rows) > 1 else ["no class promises a latency"]
    more = (_problems, _classes, _tenants, _profiles, _seeds, _comparison)
    return [*head, *table, *(line for part in more for line in part(document))]


def _time(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds:.3g}s"


def _problems(document: dict[str, Any]) -> list[str]:
    """What kept the pool from holding its objectives, by its own account."""
    found = [f"{p['reason']} in {p['share']:.1%} of decisions, at last: {p['message']}" for p in document["problems"]]
    return ["", *found] if found else []


def _tenants(document: dict[str, Any]) -> list[str]:
    """What became of each tenant, where the workload names them."""
    if not document["tenants"]:
        return []
    rows: list[tuple[str, ...]] = [("TENANT", "ANSWERED", "REFUSED", "LOST", "INPUT TOKENS", "OUTPUT TOKENS", "WITHIN ALL")]
    for row in document["tenants"][:TENANTS_TOLD]:
        counts = (f"{row[key]:,}" for key in ("answered", "refused", "lost", "inputTokens", "outputTokens"))
        rows.append((row["name"] or "none", *counts, f"{row['attainment']:.2%}"))
    further = len(document["tenants"]) - TENANTS_TOLD
    return ["", *columns(rows, left=1), *([f"and {further} more in the document"] if further > 0 else [])]


def _classes(document: dict[str, Any]) -> list[str]:
    """What became of each class, where there are several."""
    if len(document["classes"]) < 2:
        return []
    rows = [("CLASS", "PRIORITY", "ANSWERED", "REFUSED", "LOST")]
    rows += [(c["name"], str(c["priority"]), f"{c['answered']:,}", f"{c['refused']:,}", f"{c['lost']:,}") for c in document["classes"]]
    return ["", *columns(rows, left=1)]


def _profiles(document: dict[str, Any]) -> list[str]:
    """What was learned of the replicas' speed."""
    if not document["profiles"]:
        return []
    rows = [("PROFILE", "USE", "BASE", "PER TOKEN", "PER KV TOKEN", "OBSERVATIONS")]
    for row in document["profiles"]:
        found = (row.get(name) for name in ("base", "perToken", "perKvToken"))
        times = (f"{time['value']} ± {time['uncertainty']:.1%}" if time else "" for time in found)
        rows.append((row["name"], row["use"], *times, str(row["observations"])))
    return ["", *columns(rows, left=2)]


def _seeds(document: dict[str, Any]) -> list[str]:
    """How much figures vary between seeds."""
    if not document["spread"]:
        return []
    rows = [("OVER SEEDS", "MEAN", "LEAST", "MOST")]
    rows += [(name, f"{s['mean']:.4g}", f"{s['least']:.4g}", f"{s['most']:.4g}") for name, s in document["spread"].items()]
    return ["", *columns(rows, left=1)]


def _comparison(document: dict[str, Any]) -> list[str]:
    """Our own figures first, then those of each law; what every objective was met by."""
    if not document["comparison"]:
        return []
    hours = sum(document["replicas"]["hours"].values())
    ours = {**document, "law": "forebay", "replicas": {"mean": document["replicas"]["mean"], "hours": hours}}
    rows = [("LAW", "REPLICAS", "HOURS", "$", "REFUSED", "LOST", *(f"{o['class']}/{o['objective']}" for o in document["objectives"]))]
    for row in (ours, *document["comparison"]):
        cost = "unknown" if row["usd"] is None else f"{row['usd']:,.2f}"
        within = (f"{100 * o['attainment']:.2f} %" for o in row["objectives"])
        counts = (f"{row['replicas']['mean']:.2f}", f"{row['replicas']['hours']:.2f}")
        gone = (f"{row['requests']['refused']:,}", f"{row['requests']['lost']:,}")
        rows.append((law_name(row), *counts, cost, *gone, *within))
    said, *more = notes(document["comparison"], first_seed=bool(document["spread"]))
    return ["", said, *columns(rows), *more]


def can_write(path: Path, folder: Path) -> None:
    """Raises, before anything is simulated, where a report could not be written in the end, or would be read with the folder."""
    if path.suffix == ".json":
        raise UsageError(f"--report {path}: it is a page of HTML, and the JSON document is written beside it: name it .html")
    if folder.resolve() in path.resolve().parents:
        raise UsageError(
            f"--report {path}: the JSON document beside it would be read as one of the resources of {folder}: name another folder"
        )
    for one in (path, path.with_suffix(".json")):
        writable("--report", one)


def write(path: Path, document: dict[str, Any]) -> None:
    """The page and the document. Raises ForebayError where they cannot be written after all."""
    from forebay.simulation.report import html

    try:
        path.write_text(html(document), encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    except OSError as error:
        raise ForebayError(f"--report {path}: {error.strerror}") from error
