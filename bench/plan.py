"""Time of a decision. One process plans every pool of a fleet over and over, while their demand changes and their memory grows.

What is timed is `planning.plan` alone: snapshots are made before the clock starts, and nothing is read or written.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from bench.support.fleet import CLASS_SPECS, SETTINGS, a_demand, a_pool
from bench.support.table import digits, quantile
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.decision import Plan
from forebay.planning.planner import plan
from forebay.planning.snapshot import DeploymentView, Memory, PodView, PoolIdentity, Snapshot
from forebay.reconcile.observe import deployment_view

NAME = "plan"
HELP = "time of planning every pool once, in one process"

_STEPS = 3
_STEP_S = 60.0
_START = 1_800_000_000.0


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    pools = max(args.pools)
    snapshots = [_first(number) for number in range(pools)]
    rows = []
    for step in range(_STEPS):
        wall, each_s, plans = _timed(snapshots)
        rows.append(_row("first, nothing remembered" if step == 0 else f"again, demand {step} min later", pools, wall, each_s))
        snapshots = [_next(number, step + 1, s, p) for number, (s, p) in enumerate(zip(snapshots, plans, strict=True))]
    return rows


def _timed(snapshots: list[Snapshot]) -> tuple[float, list[float], list[Plan]]:
    each_s, plans = [], []
    began = time.process_time()
    for snapshot in snapshots:
        start = time.perf_counter()
        plans.append(plan(snapshot))
        each_s.append(time.perf_counter() - start)
    return time.process_time() - began, each_s, plans


def _row(name: str, pools: int, cpu_s: float, each_s: list[float]) -> dict[str, Any]:
    return {
        "name": name,
        "pools": pools,
        "total_s": digits(sum(each_s)),
        "cpu_s": digits(cpu_s),
        "p50_ms": digits(quantile(each_s, 0.5) * 1e3),
        "p95_ms": digits(quantile(each_s, 0.95) * 1e3),
        "max_ms": digits(max(each_s) * 1e3),
    }


def _first(number: int) -> Snapshot:
    obj = a_pool(number)
    spec = InferencePoolSpec.model_validate(obj["spec"])
    identity = PoolIdentity(namespace=obj["metadata"]["namespace"], name=obj["metadata"]["name"], uid=f"uid-{number}", generation=1)
    classes = {name: CLASS_SPECS[name] for name in spec.classes}
    return Snapshot(now=_START, pool=identity, spec=spec, classes=classes, demand=a_demand(number, 0, _START), settings=SETTINGS)


def _next(number: int, step: int, before: Snapshot, decided: Plan) -> Snapshot:
    """The same pool a step later: what was decided has been carried out, and demand has moved on."""
    now = before.now + _STEP_S
    deployments = _deployments(before, decided)
    return before.model_copy(
        update={
            "now": now,
            "demand": a_demand(number, step, now),
            "deployments": deployments,
            "pods": tuple(_pod(d, i, before.now) for d in deployments for i in range(d.replicas)),
            "memory": Memory.model_validate_json(decided.memory.model_dump_json()),
        }
    )


def _deployments(before: Snapshot, decided: Plan) -> tuple[DeploymentView, ...]:
    known = {d.name: d for d in before.deployments}
    for action in decided.actions:
        if action.ref.kind != "Deployment":
            continue
        if action.verb == "delete":
            known.pop(action.ref.name, None)
        elif action.body is not None:
            replicas = action.body["spec"]["replicas"]
            known[action.ref.name] = _deployment(known.get(action.ref.name), action.body, replicas)
    return tuple(sorted(known.values(), key=lambda d: d.name))


def _deployment(known: DeploymentView | None, body: dict[str, Any], replicas: int) -> DeploymentView:
    if known is not None and "metadata" not in body:
        return known.model_copy(update={"replicas": replicas, "ready": replicas})
    return deployment_view({**body, "status": {"readyReplicas": replicas}})


def _pod(deployment: DeploymentView, number: int, since: float) -> PodView:
    return PodView(
        name=f"{deployment.name}-{number}",
        variant=deployment.variant,
        capacity_type=deployment.capacity_type,
        ready=True,
        created_at=since,
        ready_at=since + 30,
    )
