"""The state that a change is held against: the pools of a cluster as they stand, or recorded decisions. Nothing is written."""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Cluster, ClusterError, Kind, Object
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.cli.replay import NO_DECISION, read_records
from forebay.cli.source import open_cluster, pools_of
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.memory import Memory
from forebay.planning.snapshot import PoolIdentity, Settings, Snapshot
from forebay.runtime.errors import ForebayError

CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class State:
    """The snapshot of each pool, by namespace/name, and the classes that there are; of a file those that its pools name."""

    pools: dict[str, Snapshot]
    classes: dict[str, BatchClassSpec]


def state(args: argparse.Namespace) -> State:
    """The cluster's where `--against cluster` says so, else the newest of each pool's records in a file.

    Raises:
        ForebayError: the cluster cannot be asked, or the file is none of decision records.
    """
    return asyncio.run(_of_cluster(args)) if args.against == CLUSTER else _of_file(Path(args.against))


def _of_file(path: Path) -> State:
    found, classes = dict[str, Snapshot](), dict[str, BatchClassSpec]()
    for number, record in read_records(path):
        try:
            snapshot = Snapshot.model_validate(record["snapshot"])
        except ValidationError as error:
            where = ".".join(("snapshot", *map(str, error.errors()[0]["loc"])))
            raise ForebayError(f"{path}:{number}: {where}: {error.errors()[0]['msg']}") from error
        found[f"{snapshot.pool.namespace}/{snapshot.pool.name}"] = snapshot
        classes |= snapshot.classes
    if not found:
        raise ForebayError(f"{path}: {NO_DECISION}")
    return State(found, classes)


async def _of_cluster(args: argparse.Namespace) -> State:
    from forebay.reconcile.keys import pool_key
    from forebay.reconcile.observe import classes, pool_snapshot

    async with open_cluster(args) as cluster:
        world, found = await _world(cluster), {}
        # Of all namespaces: pools of others take their part of shared limits, and have classes that a folder changes.
        for obj in await pools_of(cluster, None):
            try:
                spec = InferencePoolSpec.model_validate(obj["spec"])
            except ValidationError:
                continue
            key = pool_key(obj["metadata"]["namespace"], obj["metadata"]["name"])
            snapshot = await pool_snapshot(world, key, obj, spec)
            found[f"{key.namespace}/{key.name}"] = snapshot.model_copy(update={"demand": _remembered_demand(snapshot)})
    return State(found, classes(world))


def _remembered_demand(snapshot: Snapshot) -> Demand | None:
    """The newest demand that the operator wrote down in its memory of the pool; None where it has measured none."""
    memory: Memory = snapshot.memory
    newest = {name: points[-1] for name, points in memory.history.items() if points}
    if not newest:
        return None
    classes = {}
    for name, point in newest.items():
        shape, rate = memory.shapes.get(name), point.requests_per_s
        classes[name] = ClassDemand(
            requests_per_s=rate,
            # The shape is known already; without completions it stays as it is remembered.
            completed_per_s=0.0,
            input_tokens_per_s=rate * shape.input_tokens if shape else 0.0,
            output_tokens_per_s=rate * shape.output_tokens if shape else 0.0,
        )
    reporting = sum(p.ready for p in snapshot.pods)
    at = max(p.at for p in newest.values())
    return Demand(measured_at=at, window_s=45.0, source="memory", replicas_reporting=reporting, classes=classes)


async def _world(cluster: Cluster) -> Any:
    """As much of the operator's world as reading takes."""
    from forebay.adapters.clock import SystemClock
    from forebay.adapters.decisions import DecisionsInMemory
    from forebay.adapters.held import HeldInMemory
    from forebay.adapters.loaded import LoadedInMemory
    from forebay.adapters.metrics import MetricsInMemory
    from forebay.reconcile.events import Recorder
    from forebay.reconcile.view import PROVISIONED, WATCHED, ObjectView
    from forebay.reconcile.world import World

    view, clock = ObjectView(), SystemClock()
    for kind, labels in WATCHED:
        for obj in await cluster.list(kind, labels=labels):
            view.put(kind, obj)
    karpenter = [kind for kind, _ in PROVISIONED]
    installed = all([await _put_if_there(cluster, view, kind) for kind in karpenter])
    return World(
        cluster=cluster,
        view=view,
        metrics=MetricsInMemory(),
        loaded=LoadedInMemory(),
        held=HeldInMemory(),
        clock=clock,
        decisions=DecisionsInMemory(),
        recorder=Recorder(cluster, clock, "forebay-plan"),
        settings=Settings(sidecar_image="forebay"),
        backend_installed=installed,
    )


async def _put_if_there(cluster: Cluster, view: Any, kind: Kind) -> bool:
    try:
        found: list[Object] = await cluster.list(kind)
    except (ClusterError, kinds.NotFound):
        return False
    for obj in found:
        view.put(kind, obj)
    return True


def fresh_snapshot(namespace: str, name: str, spec: InferencePoolSpec) -> Snapshot:
    """A pool that is not there yet."""
    identity = PoolIdentity(namespace=namespace, name=name)
    return Snapshot(now=time.time(), pool=identity, spec=spec, settings=Settings(sidecar_image="forebay"))
