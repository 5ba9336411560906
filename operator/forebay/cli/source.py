"""Where the commands that look at pools read them: a cluster, or a running `forebay up`, which serves the same API."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay.runtime.errors import ForebayError

if TYPE_CHECKING:
    from forebay.adapters.cluster import Cluster

RUN_FILE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "forebay" / "up.kubeconfig"
"""Kubeconfig that a running `forebay up` leaves for the other commands."""

_NOTHING_RUNS = "no `forebay up` runs on this machine: start one with `forebay up DIR`"


def add_source(parser: argparse.ArgumentParser) -> None:
    """The options that say where to read from."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kubeconfig", type=Path, metavar="FILE", help="kubeconfig file; without it KUBECONFIG, then ~/.kube/config")
    where.add_argument("--local", action="store_true", help="read from the `forebay up` that runs on this machine")
    parser.add_argument("-n", "--namespace", metavar="NS", help="only this namespace; default all")


@asynccontextmanager
async def open_cluster(args: argparse.Namespace) -> AsyncIterator[Cluster]:
    """The cluster to read from, for the block.

    Raises:
        ForebayError: there is none, it cannot be asked, or it knows no pools.
    """
    from forebay.adapters.cluster import ClusterError, NotFound
    from forebay.adapters.kube import KubeCluster

    if args.local and not RUN_FILE.exists():
        raise ForebayError(_NOTHING_RUNS)
    cluster = await KubeCluster.connect(RUN_FILE if args.local else args.kubeconfig)
    try:
        yield cluster
    except NotFound:
        raise ForebayError(
            "this cluster has no InferencePools of forebay.dev: install the chart, or `forebay crds | kubectl apply -f -`"
        ) from None
    except ClusterError as error:
        # A run that was killed leaves its file behind.
        raise ForebayError(_NOTHING_RUNS if args.local and not error.status else f"the cluster cannot be asked: {error}") from None
    finally:
        await cluster.close()


async def pools_of(cluster: Cluster, namespace: str | None) -> list[dict[str, Any]]:
    """InferencePools with their status, sorted by namespace and name."""
    from forebay.adapters.cluster import INFERENCE_POOLS

    return sorted(await cluster.list(INFERENCE_POOLS, namespace), key=lambda p: (p["metadata"]["namespace"], p["metadata"]["name"]))


def read_pools(args: argparse.Namespace, name: str | None = None) -> list[dict[str, Any]]:
    """The pools, or those of one name.

    Raises:
        ForebayError: there is no cluster, or no such pool.
    """
    return asyncio.run(_read(args, name))


async def _read(args: argparse.Namespace, name: str | None) -> list[dict[str, Any]]:
    async with open_cluster(args) as cluster:
        pools = await pools_of(cluster, args.namespace)
    found = [pool for pool in pools if name in (None, pool["metadata"]["name"])]
    if name is not None and not found:
        where = f"namespace {args.namespace}" if args.namespace else "any namespace"
        raise ForebayError(f"there is no InferencePool {name} in {where}")
    return found


def pool_name(pool: dict[str, Any]) -> str:
    """`namespace/name`."""
    return f"{pool['metadata']['namespace']}/{pool['metadata']['name']}"
