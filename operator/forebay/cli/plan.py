"""`forebay plan`: what the pools of a cluster should be, beside what they are; the first plan for a folder; or what a folder would change.

Touches nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

from forebay.cli.source import add_source, pool_name, read_pools
from forebay.cli.values import given, path
from forebay.runtime.columns import columns
from forebay.runtime.errors import UsageError
from forebay.runtime.output import complain, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file", type=path, metavar="DIR", help="plan the resources of this folder as if newly applied, without a cluster"
    )
    parser.add_argument(
        "--against",
        type=given,
        metavar="STATE",
        help="with -f: what the folder would change; `cluster`, or a file of decision records for the state to start from",
    )
    parser.add_argument(
        "--shared-limits",
        type=Path,
        metavar="FILE",
        help="with --against: limits that pools keep together, as the operator has them; pools that the folder leaves out count too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when a plan cannot hold an objective or a limit."""
    if args.against:
        return _run_against(args)
    if args.shared_limits:
        raise UsageError("--shared-limits are divided by what is measured: say with --against where that is")
    if args.file:
        _refuse_source(args, "-f plans a folder without a cluster", ("-n", args.namespace))
    rows = _from_folder(args.file) if args.file else [row(p) for p in read_pools(args)]
    if args.json:
        say(json.dumps(rows))
    else:
        _print(rows)
    return 2 if any(r["problems"] for r in rows) else 0


def _run_against(args: argparse.Namespace) -> int:
    from forebay.cli.against import CLUSTER
    from forebay.cli.changes import changes, table

    if args.file is None:
        raise UsageError("--against holds a folder against a state: say which with -f DIR")
    if args.against != CLUSTER:
        _refuse_source(args, f"--against {args.against} is a file")
    found = changes(args)
    if args.json:
        say(json.dumps([change.document() for change in found]))
    else:
        say("\n".join(table(found, shutil.get_terminal_size((100, 24)).columns)))
    return 2 if any(change.breaks for change in found) else 0


def _refuse_source(args: argparse.Namespace, why: str, *more: tuple[str, Any]) -> None:
    """Options that say which cluster to read, where none is read. Raises UsageError."""
    for option, value in (("--local", args.local), ("--kubeconfig", args.kubeconfig), *more):
        if value:
            raise UsageError(f"{why}: {option} goes with a cluster, as in --against cluster")


_PROBLEMS = {"SloFeasible", "BudgetRespected", "ResolvedRefs"}


def _problems(conditions: list[dict[str, Any]]) -> list[str]:
    from forebay.api.conditions import TOO_FEW

    return [
        f"{c['type']}: {c['message']}" for c in conditions if c["type"] in _PROBLEMS and (c["status"] == "False" or c["reason"] in TOO_FEW)
    ]


def row(pool: dict[str, Any]) -> dict[str, Any]:
    """One pool of a cluster, as its operator planned it."""
    status = pool.get("status") or {}
    desired = status.get("desired", {})
    return {
        "pool": pool_name(pool),
        "mode": "Paused" if pool["spec"].get("scaling", {}).get("paused") else pool["spec"].get("mode", "Enforce"),
        "replicas": status.get("replicas", 0),
        "onDemand": desired.get("onDemand", 0),
        "spot": desired.get("spot", 0),
        "usdPerHour": status.get("rate", {}).get("usdPerHour", "unknown"),
        "summary": status.get("plan", {}).get("summary", "not planned yet"),
        "why": status.get("plan", {}).get("why", []),
        "problems": _problems(status.get("conditions", [])),
    }


def _from_folder(folder: Path) -> list[dict[str, Any]]:
    """The first plan of every pool in a folder: no demand is measured yet.

    Raises:
        ForebayError: something in the folder is not valid.
    """
    from forebay.api.batch_class import BatchClassSpec
    from forebay.api.inference_pool import InferencePoolSpec
    from forebay.cli.against import fresh_snapshot
    from forebay.local.folder import read_folder
    from forebay.planning.planner import plan

    found = read_folder(folder)
    for note in found.unrendered:
        complain(f"forebay: {note}")
    objects = list(found.objects.values())
    classes = {o["metadata"]["name"]: BatchClassSpec.model_validate(o["spec"]) for o in objects if o["kind"] == "BatchClass"}
    pools = [o for o in objects if o["kind"] == "InferencePool"]
    rows = []
    for obj in pools:
        meta = obj["metadata"]
        spec = InferencePoolSpec.model_validate(obj["spec"])
        snapshot = fresh_snapshot(meta.get("namespace", "default"), meta["name"], spec)
        wanted = {name: classes[name] for name in spec.classes if name in classes}
        decision = plan(snapshot.model_copy(update={"classes": wanted}))
        status = decision.status.model_dump(mode="json", by_alias=True)
        desired = decision.status.desired
        status["plan"] = {"summary": f"would have {desired.on_demand} on-demand + {desired.spot} spot", "why": decision.why}
        status["conditions"] = [v.model_dump(mode="json") for v in decision.verdicts]
        rows.append(
            row({"metadata": {"namespace": snapshot.pool.namespace, "name": snapshot.pool.name}, "spec": obj["spec"], "status": status})
        )
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    say("\n".join(lines(rows, width)))


def lines(rows: list[dict[str, Any]], width: int) -> list[str]:
    """A row for each pool; below it why, where the plan differs from what there is, and what it cannot hold."""
    titles = ("POOL", "MODE", "NOW", "ON-DEMAND", "SPOT", "$/H")
    cells = [tuple(str(r[key]) for key in ("pool", "mode", "replicas", "onDemand", "spot", "usdPerHour")) for r in rows]
    head, *found = columns([titles, *cells], left=2)
    result = [head]
    for r, line in zip(rows, found, strict=True):
        result.append(line)
        why = r["why"] if r["replicas"] != r["onDemand"] + r["spot"] else []
        for text in (*why, *(f"! {problem}" for problem in r["problems"])):
            result += textwrap.wrap(text, max(width, 40), initial_indent="  ", subsequent_indent="    ")
    return result
