"""`forebay simulate`: what a folder of resources would have done with a recorded or described workload, in seconds instead of hours."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from forebay.cli.values import number, some_time, whole
from forebay.runtime.columns import columns
from forebay.runtime.errors import ForebayError, UsageError

HELP_WORKLOAD = (
    "CSV or JSON lines, gzipped or not: arrival_time_s, input_tokens, output_tokens and perhaps class, tenant; or Azure's, Mooncake's or"
    " BurstGPT's public traces; or rates over time: ts_s, total_rate_rps and perhaps rate_weighted_cv"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", type=Path, required=True, metavar="DIR", help="folder of resources, as `forebay up` reads it")
    parser.add_argument("--workload", type=Path, required=True, metavar="FILE", help=HELP_WORKLOAD)
    parser.add_argument("--pool", metavar="NAME", help="the InferencePool to simulate, where there are several")
    parser.add_argument("--class", dest="batch_class", metavar="NAME", help="class of requests that name none (default: the pool's first)")
    parser.add_argument("--until", type=some_time, metavar="TIME", help="end here, such as 6h (default: the end of the workload)")
    parser.add_argument("--start", type=some_time, default=110.0, metavar="TIME", help="a replica's time to start (default: 110s)")
    unequal = "how unequal start times are: their coefficient of variation (default: 0)"
    parser.add_argument("--start-spread", type=number(0, 5), default=0.0, metavar="CV", help=unequal)
    parser.add_argument("--interval", type=some_time, default=15.0, metavar="TIME", help="time between decisions (default: 15s)")
    parser.add_argument("--seed", type=whole(0, 2**31), default=1, metavar="N", help="seed of all that is drawn (default: 1)")
    rates = parser.add_argument_group("where the workload is rates")
    rates.add_argument("--rps", type=number(0.001, 1e6), metavar="R", help="rescale them to this mean, requests/s")
    rates.add_argument("--input-tokens", type=whole(1, 1_000_000), default=512, metavar="N", help="tokens of every request (default: 512)")
    rates.add_argument("--output-tokens", type=whole(1, 1_000_000), default=128, metavar="N", help="tokens of every answer (default: 128)")
    parser.add_argument(
        "--compare", metavar="LAW,LAW", help="other laws of scaling beside it, as shipped: hpa, kpa, llmd, wva, dynamo, sageserve, static:N"
    )
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a report with plots, and the JSON document beside it")
    parser.add_argument("--json", action="store_true", help="print the JSON document instead of a table")


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when an objective was missed."""
    from forebay.local.folder import read_folder
    from forebay.simulation.study import Asked, study

    _laws(args)
    folder = read_folder(args.file)
    pools = [obj for obj in folder.objects.values() if obj["kind"] == "InferencePool"]
    pool = _chosen(pools, args.pool)
    meta = pool["metadata"]
    default = args.batch_class or next(iter(pool["spec"].get("classes") or ["default"]))
    asked = Asked(tuple(folder.objects.values()), meta["namespace"], meta["name"], args.start, args.start_spread, args.interval, args.seed)
    began = time.monotonic()
    with _progress() as tell:
        document = study(asked, _workload(args, default), tell)
    document["workload"] = args.workload.name
    document["comparison"] = _compared(args, asked, default, document)
    if args.report:
        _write(args.report, document)
    if args.json:
        print(json.dumps(document))
    else:
        print("\n".join(lines(document, time.monotonic() - began)))
    return 2 if any(not row["met"] for row in document["objectives"]) else 0


def _compared(args: argparse.Namespace, asked: Any, default: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    from forebay.simulation.compare import compared

    means, rows = document["meanTokens"], []
    for name in _laws(args):
        with _progress(f"{name}: ") as tell:
            rows.append(compared(asked, name, _workload(args, default), (means["input"], means["output"]), tell))
    return rows


def _laws(args: argparse.Namespace) -> list[str]:
    from forebay.simulation.laws.registry import check

    return [check(name) for name in args.compare.split(",")] if args.compare else []


def _chosen(pools: list[dict[str, Any]], name: str | None) -> dict[str, Any]:
    names = [f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in pools]
    found = [p for p, full in zip(pools, names, strict=True) if name in (None, full, p["metadata"]["name"])]
    if len(found) == 1:
        return found[0]
    if name is None:
        raise UsageError(f"there are {len(pools)} pools, say which with --pool: {', '.join(names)}")
    raise UsageError(f"there is {'no' if not found else 'more than one'} pool {name!r}: there are {', '.join(names)}")


def _workload(args: argparse.Namespace, default_class: str) -> Iterator[Any]:
    from forebay.simulation.workload import from_rates, has_rates, read, read_rates

    if has_rates(args.workload):
        rates = read_rates(args.workload)
        rates = rates.scaled_to(args.rps) if args.rps else rates
        requests = from_rates(rates, args.seed, args.input_tokens, args.output_tokens, default_class)
    elif args.rps:
        raise UsageError("--rps rescales a workload of rates; this one has requests")
    else:
        requests = read(args.workload, default_class)
    return requests if args.until is None else takewhile(lambda request: request.arrived < args.until, requests)


class _progress:
    """Says on a terminal's standard error how far the virtual clock is; elsewhere nothing."""

    def __init__(self, what: str = "") -> None:
        self._what = what

    def __enter__(self) -> Callable[[float, int], None]:
        self._shown = 0.0
        return self._tell

    def _tell(self, at_s: float, requests: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._shown > 0.2:
            self._shown = now
            print(f"\r{self._what}{_span(at_s)} simulated, {requests:,} requests", end="\x1b[K", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _span(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60}h {minutes % 60:02}m"


def lines(document: dict[str, Any], took_s: float) -> list[str]:
    """The figures that matter, for a terminal."""
    requests, replicas = document["requests"], document["replicas"]
    usd = document["usd"]
    head = [
        f"{document['pool']}: {_span(document['seconds'])} of {document['workload']} in {took_s:.1f} s",
        f"requests  {requests['answered']:,} answered, {requests['refused']:,} refused, {requests['lost']:,} lost",
        f"replicas  {replicas['mean']:.2f} on average, {replicas['most']} at most, {sum(replicas['hours'].values()):.2f} hours in all",
        f"cost      {'unknown: not every accelerator has a price' if usd is None else f'${usd:,.2f}'}",
    ]
    rows = [("CLASS", "OBJECTIVE", "TARGET", "WITHIN", "P50", "P99", "")]
    for row in document["objectives"]:
        seconds = row["seconds"]
        target = f"p{100 * row['quantile']:g} < {row['targetSeconds']:g}s"
        within = f"{100 * row['attainment']:.2f} %"
        met = "" if row["met"] else "missed"
        rows.append((row["class"], row["objective"], target, within, f"{seconds['p50']:.3g}s", f"{seconds['p99']:.3g}s", met))
    table = columns(rows, left=3) if len(rows) > 1 else ["no class promises a latency"]
    return [*head, *table, *_comparison(document)]


def _comparison(document: dict[str, Any]) -> list[str]:
    """Our own figures first, then those of each law; what every objective was met by."""
    if not document["comparison"]:
        return []
    hours = sum(document["replicas"]["hours"].values())
    ours = {**document, "law": "forebay", "replicas": {"mean": document["replicas"]["mean"], "hours": hours}}
    rows = [("LAW", "REPLICAS", "HOURS", "$", "REFUSED", *(f"{o['class']}/{o['objective']}" for o in document["objectives"]))]
    for row in (ours, *document["comparison"]):
        cost = "unknown" if row["usd"] is None else f"{row['usd']:,.2f}"
        within = (f"{100 * o['attainment']:.2f} %" for o in row["objectives"])
        counts = (f"{row['replicas']['mean']:.2f}", f"{row['replicas']['hours']:.2f}")
        rows.append((row["law"], *counts, cost, f"{row['requests']['refused']:,}", *within))
    return ["", "peers are re-implementations, as shipped, on on-demand replicas alone", *columns(rows)]


def _write(path: Path, document: dict[str, Any]) -> None:
    from forebay.simulation.report import html

    try:
        path.write_text(html(document), encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    except OSError as error:
        raise ForebayError(f"--report {path}: {error.strerror}") from error
