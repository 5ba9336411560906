"""`forebay simulate`: what a folder of resources would have done with a recorded or described workload, in seconds instead of hours."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay.cli.simulated import Progress, can_write, lines, write
from forebay.cli.values import duration, number, path, some_time, whole
from forebay.runtime.errors import UsageError
from forebay.runtime.output import say

if TYPE_CHECKING:
    from forebay.simulation.study import Asked

TIME_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

SMALL_BYTES = 1 << 20

HELP_WORKLOAD = (
    "CSV or JSON lines, gzipped or not: arrival_time_s, input_tokens, output_tokens (not for embeddings) and perhaps class, tenant; or"
    " Azure's, Mooncake's or BurstGPT's public traces; or rates over time: ts_s, total_rate_rps and perhaps rate_weighted_cv, or"
    " ServeGen's of single clients; - is standard input"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", type=path, required=True, metavar="DIR", help="folder of resources, as `forebay up` reads it")
    parser.add_argument("--workload", type=path, required=True, metavar="FILE", help=HELP_WORKLOAD)
    parser.add_argument("--pool", metavar="NAME", help="the InferencePool to simulate, where there are several")
    parser.add_argument("--class", dest="batch_class", metavar="NAME", help="class of requests that name none (default: the pool's first)")
    parser.add_argument("--until", type=some_time, metavar="TIME", help="end here, such as 6h (default: the end of the workload)")
    parser.add_argument("--start", type=some_time, default=110.0, metavar="TIME", help="a replica's time to start (default: 110s)")
    unequal = "how unequal start times are: their coefficient of variation (default: 0)"
    parser.add_argument("--start-spread", type=number(0, 5), default=0.0, metavar="CV", help=unequal)
    steps = "steps on this accelerator really take so many times what its profile declares; may be given again for another"
    parser.add_argument("--step-times", type=step_times, action="append", default=[], metavar="ACCELERATOR=FACTOR", help=steps)
    parser.add_argument("--interval", type=some_time, default=15.0, metavar="TIME", help="time between decisions (default: 15s)")
    parser.add_argument("--seed", type=whole(0, 2**31), default=1, metavar="N", help="seed of all that is drawn (default: 1)")
    many = "run so many seeds, from --seed on, and tell how much figures vary (default: 1)"
    parser.add_argument("--seeds", type=whole(1, 100), default=1, metavar="N", help=many)
    late = "lines may come so much later than they should (default: not at all)"
    parser.add_argument("--disorder", type=duration, default=0.0, metavar="TIME", help=late)
    unit = "unit of a trace's times, where its columns do not say it (default: seconds, or what the format has)"
    parser.add_argument("--time-unit", choices=tuple(TIME_UNITS_S), help=unit)
    gap = "longest time without a request that is no error in the file (default: 24h)"
    parser.add_argument("--max-gap", type=some_time, default=86_400.0, metavar="TIME", help=gap)
    rates = parser.add_argument_group("where the workload is rates")
    rates.add_argument("--rps", type=number(0.001, 1e6), metavar="R", help="rescale them to this mean, requests/s")
    rates.add_argument("--input-tokens", type=whole(1, 1_000_000), default=512, metavar="N", help="tokens of every request (default: 512)")
    answers = "tokens of every answer (default: 128); embeddings have none"
    rates.add_argument("--output-tokens", type=whole(1, 1_000_000), default=128, metavar="N", help=answers)
    rates.add_argument(
        "--lengths",
        type=Path,
        metavar="FILE",
        help="CSV of input_tokens and output_tokens to draw from, or Vidur's or ServeGen's",
    )
    _add_misfortune(parser)
    beside = (
        "other laws of scaling beside it, as shipped: hpa, kpa, llmd, wva, dynamo, sageserve, static:N; and clairvoyant, a bound that knows"
        " the workload and is searched on it, which takes some 15 runs"
    )
    parser.add_argument("--compare", metavar="LAW,LAW", help=beside)
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a report with plots, and the JSON document beside it")
    records = "append the decision records of the first seed here, as an operator writes them, for `forebay replay` and `plan --against`"
    parser.add_argument("--decisions", type=Path, metavar="FILE", help=records)
    parser.add_argument("--json", action="store_true", help="print the JSON document instead of a table")


def _add_misfortune(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what befalls replicas")
    events = "what spot nodes did: time_s,available or time_s,lost, or Parcae's traces as they are"
    group.add_argument("--spot-events", type=Path, metavar="FILE", help=events)
    group.add_argument("--spot-mean-life", type=some_time, metavar="TIME", help="a spot node's mean life, exponential, such as 2h")
    group.add_argument("--spot-notice", type=duration, default=120.0, metavar="TIME", help="told before a spot node goes (default: 120s)")
    zones = "spread spot nodes over so many zones; all of a zone go together (default: each alone)"
    group.add_argument("--spot-zones", type=whole(1, 100), metavar="N", help=zones)
    stuck = "share of starts that never end, half of them without a node (default: 0)"
    group.add_argument("--stuck-share", type=number(0, 1), default=0.0, metavar="SHARE", help=stuck)


def step_times(text: str) -> tuple[str, float]:
    """`a100=3`: an accelerator, and how many times as long as declared its steps take."""
    name, found, factor = text.partition("=")
    if not name or not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not an accelerator and a factor, such as a100=3")
    return name, float(number(0.01, 100)(factor))


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when an objective was missed."""
    from forebay.local.folder import read_folder
    from forebay.simulation.files import name_of
    from forebay.simulation.seeds import over_seeds
    from forebay.simulation.study import study

    _refuse_again(args, len(_laws(args)))
    if args.report:
        can_write(args.report, args.file)
    objects = list(read_folder(args.file).objects.values())
    written = _chosen([obj for obj in objects if obj["kind"] == "InferencePool"], args.pool)
    pool, assumed = carried_out(written)
    objects[objects.index(written)] = pool
    served = _served(args, pool["spec"]["classes"])
    first, needed = _asked(args, objects, pool), _needed(pool)

    def once(seed: int) -> dict[str, Any]:
        workload, share = _workload(args, served, needed, seed)
        asked = first if seed == args.seed else replace(first, seed=seed, fortune=_fortune(args, seed), decisions=None)
        with Progress(f"seed {seed}: " if args.seeds > 1 else "", share) as tell:
            return study(asked, workload, tell)

    began = time.monotonic()
    document = over_seeds(once, range(args.seed, args.seed + args.seeds))
    document["workload"] = name_of(args.workload)
    document["assumed"] = assumed
    document["comparison"] = _compared(args, first, served, needed, document)
    _tell(args, document, time.monotonic() - began)
    return 2 if any(not row["met"] for row in document["objectives"]) else 0


def _asked(args: argparse.Namespace, objects: list[dict[str, Any]], pool: dict[str, Any]) -> Asked:
    """What the first seed simulates."""
    from forebay.adapters.decisions import in_file
    from forebay.simulation.study import Asked

    return Asked(
        objects=tuple(objects),
        namespace=pool["metadata"]["namespace"],
        pool=pool["metadata"]["name"],
        start_s=args.start,
        start_spread=args.start_spread,
        interval_s=args.interval,
        seed=args.seed,
        fortune=_fortune(args, args.seed),
        slower=_step_times(args, pool),
        # A run ends, unlike an operator's: nothing of it is replaced.
        decisions=in_file(args.decisions, inf) if args.decisions else None,
    )


def carried_out(pool: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The pool with its plans carried out, and what was assumed for that: one that touches nothing would have no replica at all here."""
    spec, assumed = dict(pool["spec"]), []
    if spec.get("mode") == "Recommend":
        spec["mode"] = "Enforce"
        assumed.append("mode is Recommend: simulated as with mode Enforce")
    if spec.get("scaling", {}).get("paused"):
        spec["scaling"] = {**spec["scaling"], "paused": False}
        assumed.append("scaling.paused is set: simulated as without it")
    return {**pool, "spec": spec}, assumed


def _tell(args: argparse.Namespace, document: dict[str, Any], took_s: float) -> None:
    """Prints first: what was simulated is not lost where the report cannot be written after all."""
    say(json.dumps(document) if args.json else "\n".join(lines(document, took_s)))
    if args.report:
        write(args.report, document)


def _compared(
    args: argparse.Namespace, asked: Asked, served: list[str], needed: tuple[str, ...], document: dict[str, Any]
) -> list[dict[str, Any]]:
    from forebay.simulation.compare import compared

    @contextmanager
    def again(what: str) -> Iterator[tuple[Iterator[Any], Callable[[float, int], None]]]:
        workload, share = _workload(args, served, needed, args.seed)
        with Progress(f"{what}: ", share) as tell:
            yield workload, tell

    means = document["meanTokens"]
    return [compared(asked, name, again, (means["input"], means["output"])) for name in _laws(args)]


def _fortune(args: argparse.Namespace, seed: int) -> Any:
    from forebay.simulation.fortune import Fortune
    from forebay.simulation.spot_events import read_spot

    if args.spot_zones and args.spot_mean_life is None:
        raise UsageError("--spot-zones says which nodes go together: say --spot-mean-life too")
    changes = read_spot(args.spot_events, seed) if args.spot_events else ()
    return Fortune(changes, args.spot_mean_life or inf, args.spot_notice, args.spot_zones or 0, args.stuck_share)


def _step_times(args: argparse.Namespace, pool: dict[str, Any]) -> dict[str, float]:
    known = [a["name"] for a in pool["spec"].get("capacity", {}).get("accelerators", [])]
    for name, _ in args.step_times:
        if name not in known:
            raise UsageError(f"--step-times: the pool has no accelerator {name!r}: there are {', '.join(known) or 'none'}")
    return dict(args.step_times)


def _laws(args: argparse.Namespace) -> list[str]:
    from forebay.simulation.laws.registry import check

    names = [name.strip() for name in args.compare.split(",")] if args.compare is not None else []
    # Ours is there in any case.
    return list(dict.fromkeys(check(name) for name in names if name != "forebay"))


def _refuse_again(args: argparse.Namespace, laws: int) -> None:
    """Raises UsageError, before anything is simulated, where the workload would have to be read twice and cannot be."""
    from forebay.simulation.files import ONLY_ONCE, name_of, only_once

    if (args.seeds > 1 or laws) and only_once(args.workload):
        again = "--seeds" if args.seeds > 1 else "--compare"
        raise UsageError(f"{again} reads the workload again, and {name_of(args.workload)} {ONLY_ONCE}")


def _chosen(pools: list[dict[str, Any]], name: str | None) -> dict[str, Any]:
    names = [f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in pools]
    found = [p for p, full in zip(pools, names, strict=True) if name in (None, full, p["metadata"]["name"])]
    if len(found) == 1:
        return found[0]
    if name is None:
        raise UsageError(f"there are {len(pools)} pools, say which with --pool: {', '.join(names)}")
    raise UsageError(f"there is {'no' if not found else 'more than one'} pool {name!r}: there are {', '.join(names)}")


def _served(args: argparse.Namespace, classes: list[str]) -> list[str]:
    """The pool's classes, first that of requests that name none."""
    if args.batch_class not in (None, *classes):
        raise UsageError(f"--class {args.batch_class}: the pool serves {', '.join(sorted(classes))}")
    return sorted(classes, key=lambda name: name != args.batch_class)


def _needed(pool: dict[str, Any]) -> tuple[str, ...]:
    """What is to be known of each request: answers of embeddings have no tokens."""
    from forebay.simulation.trace_columns import EMBEDDINGS, REQUESTS

    return EMBEDDINGS if pool["spec"]["model"].get("task") == "Embeddings" else REQUESTS


def _workload(
    args: argparse.Namespace, served: list[str], needed: tuple[str, ...], seed: int
) -> tuple[Iterator[Any], Callable[[float], float]]:
    """The requests, and how much of them has come at a time of the virtual clock, 0 to 1."""
    from forebay.simulation.files import Position
    from forebay.simulation.lengths import alike, read_lengths
    from forebay.simulation.workload import from_rates, has_rates, read, read_rates

    position, ends_s = Position(), args.until
    if has_rates(args.workload):
        if args.time_unit:
            raise UsageError("--time-unit belongs to a trace of requests; rates are by seconds: ts_s")
        rates = read_rates(args.workload)
        rates = rates.scaled_to(args.rps) if args.rps else rates
        if args.lengths:
            lengths = read_lengths(args.lengths, seed, needed)
        else:
            lengths = alike(args.input_tokens, args.output_tokens if "output" in needed else 0)
        requests, span_s = from_rates(rates, seed, lengths, served[0]), rates.knots[-1][0]
        ends_s = min(span_s, args.until or span_s)
    elif args.rps or args.lengths:
        flag = "--rps rescales" if args.rps else "--lengths belongs to"
        raise UsageError(f"{flag} a workload of rates; this one has requests")
    else:
        unit_s = TIME_UNITS_S[args.time_unit] if args.time_unit else None
        requests = read(
            args.workload,
            served[0],
            disorder_s=args.disorder,
            max_gap_s=args.max_gap,
            time_unit_s=unit_s,
            position=position,
            needed=needed,
            served=served,
        )
    bounded = requests if args.until is None else takewhile(lambda request: request.arrived < args.until, requests)
    if not ends_s and args.workload.is_file() and args.workload.stat().st_size <= SMALL_BYTES:
        # A small file is read at once, so that it is known how far its end is.
        known = list(bounded)
        bounded, ends_s = iter(known), known[-1].arrived if known else None
    return bounded, lambda at_s: min(1.0, at_s / ends_s) if ends_s else position.share
