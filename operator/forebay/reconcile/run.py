"""The operator as a process: waits for the lease, then watches and works until it is told to stop or loses the lease."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import SystemClock
from forebay.adapters.cluster import Cluster
from forebay.adapters.decisions import DecisionLog, LosableDecisions, StreamDecisions, in_file
from forebay.adapters.held import HeldByScrape
from forebay.adapters.kube import KubeCluster
from forebay.adapters.lease import LeaderLease, LeaseLost
from forebay.adapters.loaded import LoadedByScrape
from forebay.adapters.metrics import History, Metrics, NoHistory
from forebay.adapters.scrape import WINDOW_S, ScrapedMetrics
from forebay.api.shared_limits import SharedLimit
from forebay.dataplane.http.admin import admin
from forebay.dataplane.http.beside import beside
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.run import run as run_until_stopped
from forebay.dataplane.http.server import serve
from forebay.planning.snapshot import Settings
from forebay.reconcile import handlers, telemetry
from forebay.reconcile.chores import sweep_node_pools
from forebay.reconcile.events import Recorder
from forebay.reconcile.loop import Loop
from forebay.reconcile.shares import Ledger
from forebay.reconcile.view import ObjectView
from forebay.reconcile.world import World
from forebay.runtime.errors import ForebayError

if TYPE_CHECKING:
    from forebay.adapters.promql import Access

NODE_POOL_CRD = "nodepools.karpenter.sh"
BACKEND_CHECK_S = 60.0
LEASE_NAME = "forebay-operator"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How the operator was called; docs: `forebay operator --help`."""

    image: str
    kubeconfig: Path | None = None
    namespace: tuple[str, ...] | list[str] = ()
    lease_namespace: str = "forebay-system"
    lease_seconds: float = 15.0
    interval: float = 15.0
    prometheus: str | None = None
    prometheus_matchers: tuple[tuple[str, str], ...] | list[tuple[str, str]] = ()
    prometheus_token_file: Path | None = None
    prometheus_ca: Path | None = None
    shared_limits: tuple[SharedLimit, ...] = ()
    decisions: str = "-"
    mig_config_namespace: str = "gpu-operator"
    host: str = "0.0.0.0"  # noqa: S104
    port: int = 8081
    sweep_all: bool = False


@dataclass
class _Health:
    """What the probes answer."""

    reason: str = "starting"


def main(options: Options) -> int:
    """Runs the operator; returns the exit code.

    Raises:
        ForebayError: there is nothing to run with, or the cluster refuses what the operator cannot do without.
    """
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = str(options.kubeconfig)  # where kopf looks too
    decisions = _decisions(options.decisions)
    try:
        return run_until_stopped(lambda stop: _main(options, decisions, stop))
    except kinds.ClusterError as error:
        hint = "; the chart's ClusterRole has all that is needed" if isinstance(error, kinds.Forbidden) else ""
        raise ForebayError(f"the cluster cannot be worked with: {error}{hint}") from error


async def _main(options: Options, decisions: DecisionLog, stop: asyncio.Event) -> int:
    cluster = await KubeCluster.connect(options.kubeconfig)
    client = Client()
    try:
        if options.sweep_all:
            count = await sweep_node_pools(cluster, tuple(options.namespace), keep=False) if await backend_installed(cluster) else 0
            _log.info("%d NodePools deleted", count)
            return 0
        health = _Health()
        server = await serve(admin(telemetry.REGISTRY, lambda: health.reason), options.host, options.port, beside=beside(options.host))
        try:
            return await _lead(options, decisions, cluster, client, health, stop)
        finally:
            await server.close(1.0)
    finally:
        await client.close()
        await cluster.close()


async def _lead(options: Options, decisions: DecisionLog, cluster: Cluster, client: Client, health: _Health, stop: asyncio.Event) -> int:
    """Waits for the lease and leads. A standby is ready too: it has nothing to be asked for."""
    identity = f"{socket.gethostname()}_{os.getpid()}"
    lease = LeaderLease(cluster, options.lease_namespace, LEASE_NAME, identity, duration_s=options.lease_seconds)
    health.reason = ""  # a standby has nothing to be asked for
    try:
        async with lease.held(stop) as leading:
            if not leading:
                return 0
            telemetry.LEADER.set(1)
            _log.info("leading as %s", identity)
            health.reason = "the watches have not begun"
            return await _work(options, decisions, cluster, client, identity, health, stop)
    except LeaseLost:
        _log.error("the lease is lost: another replica may lead, so this one stops at once")
        return 1
    finally:
        telemetry.LEADER.set(0)


async def _work(
    options: Options, decisions: DecisionLog, cluster: Cluster, client: Client, identity: str, health: _Health, stop: asyncio.Event
) -> int:
    installed = await backend_installed(cluster)
    view = ObjectView()
    world = _world(options, decisions, cluster, client, identity, installed, view)
    loop = Loop(world, view)
    ready = asyncio.Event()
    done = asyncio.Event()
    watching = asyncio.create_task(handlers.run(loop, done, ready, list(options.namespace), stop.set))
    working = asyncio.create_task(_work_when(ready, loop, health))
    backend = asyncio.create_task(_backend_changed(cluster, installed))
    stopped = asyncio.create_task(stop.wait())
    try:
        first = (await asyncio.wait({watching, working, backend, stopped}, return_when=asyncio.FIRST_COMPLETED))[0]
        for task in first - {stopped}:
            task.result()
        return 0 if stopped in first or backend in first else 1
    finally:
        done.set()
        for task in (working, backend, stopped):
            task.cancel()
        await asyncio.wait({watching}, timeout=5)
        watching.cancel()
        await asyncio.gather(watching, working, backend, stopped, return_exceptions=True)


def _world(
    options: Options, decisions: DecisionLog, cluster: Cluster, client: Client, identity: str, installed: bool, view: ObjectView
) -> World:
    """What reconcilers may touch; `installed` says whether Karpenter is."""
    return World(
        cluster=cluster,
        view=view,
        metrics=_metrics(options, client),
        history=_history(options),
        loaded=LoadedByScrape(client),
        held=HeldByScrape(client),
        clock=SystemClock(),
        decisions=decisions,
        recorder=Recorder(cluster, SystemClock(), identity),
        settings=Settings(
            sidecar_image=options.image,
            interval_s=options.interval,
            stale_after_s=3 * options.interval,
            mig_config_namespace=options.mig_config_namespace,
        ),
        backend_installed=installed,
        namespaces=tuple(options.namespace),
        ledger=Ledger(options.shared_limits),
    )


async def _work_when(ready: asyncio.Event, loop: Loop, health: _Health) -> None:
    await ready.wait()
    health.reason = ""
    loop.start_chores()
    await loop.run()


async def backend_installed(cluster: Cluster) -> bool:
    """Whether Karpenter's NodePool kind exists."""
    return await cluster.get(kinds.CRDS, None, NODE_POOL_CRD) is not None


async def _backend_changed(cluster: Cluster, installed: bool) -> None:
    """Ends when Karpenter came or went: what is watched is decided at the start, so the process starts anew."""
    while True:
        await asyncio.sleep(BACKEND_CHECK_S)
        try:
            if await backend_installed(cluster) != installed:
                _log.info("Karpenter was %s: starting anew to follow", "removed" if installed else "installed")
                return
        except kinds.ClusterError as error:
            _log.warning("whether Karpenter is installed cannot be asked: %s", error)


def _metrics(options: Options, client: Client) -> Metrics:
    if options.prometheus:
        from forebay.adapters.prometheus import PrometheusMetrics

        return PrometheusMetrics(options.prometheus, matchers=dict(options.prometheus_matchers), access=_access(options))
    return ScrapedMetrics(client, window_s=max(WINDOW_S, 3 * options.interval))


def _history(options: Options) -> History:
    if options.prometheus:
        from forebay.adapters.prometheus_history import PrometheusHistory

        return PrometheusHistory(options.prometheus, dict(options.prometheus_matchers), _access(options))
    return NoHistory()


def _access(options: Options) -> Access:
    from forebay.adapters.promql import Access

    return Access(options.prometheus_token_file, options.prometheus_ca)


def _decisions(where: str) -> DecisionLog:
    return LosableDecisions(StreamDecisions(sys.stdout) if where == "-" else in_file(Path(where)))
