"""Where the commands that look at pools read them: a cluster, or a running `forebay up`, which serves the same API."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from forebay.runtime.errors import ForebayError

RUN_FILE = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "forebay" / "up.kubeconfig"
"""Kubeconfig that a running `forebay up` leaves for the other commands."""


def add_source(parser: argparse.ArgumentParser) -> None:
    """The options that say where to read from."""
    parser.add_argument("--kubeconfig", type=Path, help="kubeconfig file; without it KUBECONFIG, then ~/.kube/config")
    parser.add_argument("--local", action="store_true", help="read from the `forebay up` that runs on this machine")
    parser.add_argument("-n", "--namespace", metavar="NS", help="only this namespace; default all")


def kubeconfig_of(args: argparse.Namespace) -> Path | None:
    """The kubeconfig to use.

    Raises:
        ForebayError: --local was asked for and nothing runs.
    """
    if not args.local:
        path: Path | None = args.kubeconfig
        return path
    if not RUN_FILE.exists():
        raise ForebayError("no `forebay up` runs on this machine: start one with `forebay up DIR`")
    return RUN_FILE


def read_pools(args: argparse.Namespace, name: str | None = None) -> list[dict[str, Any]]:
    """InferencePools with their status, sorted by namespace and name.

    Raises:
        ForebayError: there is no cluster, or no such pool.
    """
    return asyncio.run(_read(args, name))


async def _read(args: argparse.Namespace, name: str | None) -> list[dict[str, Any]]:
    from forebay.adapters import cluster as kinds
    from forebay.adapters.kube import KubeCluster

    cluster = await KubeCluster.connect(kubeconfig_of(args))
    try:
        pools = await cluster.list(kinds.INFERENCE_POOLS, args.namespace)
    except kinds.NotFound:
        raise ForebayError(
            "this cluster has no InferencePools of forebay.dev: install the chart, or `forebay crds | kubectl apply -f -`"
        ) from None
    except kinds.ClusterError as error:
        raise ForebayError(f"the cluster cannot be asked: {error}") from None
    finally:
        await cluster.close()
    found = [p for p in pools if name in (None, p["metadata"]["name"])]
    if name is not None and not found:
        where = f"namespace {args.namespace}" if args.namespace else "any namespace"
        raise ForebayError(f"there is no InferencePool {name} in {where}")
    return sorted(found, key=lambda p: (p["metadata"]["namespace"], p["metadata"]["name"]))
