"""kopf's part: it watches, and every change becomes a key. Nothing else happens here.

Event mode only (`on.event` and `index`): no finalizers and no annotations on users' objects, and a `kubectl replace` changes nothing. The
index functions fill the view; kopf runs no event handler before every index has seen all that exists.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kopf

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Kind
from forebay.dataplane.http.run import on_signals
from forebay.reconcile.loop import Loop
from forebay.reconcile.view import OURS, PROVISIONED, WATCHED

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVER_TIMEOUT_S, _CLIENT_TIMEOUT_S = 600, 630


def configure(settings: kopf.OperatorSettings) -> None:
    """Settings that keep kopf to watching, with least rights and no trace on objects."""
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{kinds.INFERENCE_POOLS.group}/finalizer"
    settings.watching.chunk_size = 500
    settings.watching.server_timeout, settings.watching.client_timeout = _SERVER_TIMEOUT_S, _CLIENT_TIMEOUT_S
    settings.networking.request_timeout, settings.networking.connect_timeout = 30, 10
    # No limit of workers: every object's waits until all are indexed, so with more objects than workers nothing would ever begin.
    settings.queueing.worker_limit, settings.queueing.exit_timeout = None, 0.1
    ours = ",".join(f"{key}={value}" for key, value in OURS.items())
    for kind, selector in ((kinds.PODS, ours), (kinds.DEPLOYMENTS, ours), *PROVISIONED):
        settings.watching.label_selectors[kind.group, kind.api_version.rpartition("/")[2], kind.plural] = selector
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


def _register(registry: kopf.OperatorRegistry, kind: Kind, loop: Loop) -> None:
    group, _, version = kind.api_version.rpartition("/")

    @kopf.index(group, version, kind.plural, registry=registry, id=f"know-{kind.plural}")
    async def know(body: kopf.Body, **_: Any) -> None:
        loop.learn(kind, _plain(kind, body))

    @kopf.on.event(group, version, kind.plural, registry=registry, id=f"follow-{kind.plural}")
    async def follow(body: kopf.Body, type: str | None, **_: Any) -> None:
        loop.changed(kind, _plain(kind, body), deleted=type == "DELETED")


def _plain(kind: Kind, body: kopf.Body) -> dict[str, Any]:
    """The object as a dictionary, with the kind that list items lack."""
    return {**dict(body), "apiVersion": kind.api_version, "kind": kind.name}


def _service_account() -> kopf.ConnectionInfo:
    """The pod's own account, at the address the kubelet gives: kopf's own login needs the cluster's DNS."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return kopf.ConnectionInfo(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_path=str(_ACCOUNT / "ca.crt"),
        scheme="Bearer",
        token=(_ACCOUNT / "token").read_text().strip(),
    )


async def run(loop: Loop, stop: asyncio.Event, ready: asyncio.Event, namespaces: list[str], signalled: Callable[[], None]) -> None:
    """Watches until `stop` is set. `ready` is set when watching begins; keys come once every index is filled.

    kopf takes the process's signals and ends only its own part in answer; here they call `signalled` instead.
    """
    registry = kopf.OperatorRegistry()
    watched = [kind for kind, _ in WATCHED] + [kind for kind, _ in PROVISIONED if loop.world.backend_installed]
    for kind in watched:
        _register(registry, kind, loop)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    @kopf.on.login(registry=registry)
    async def authenticate(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # kopf asks again when the server refuses, so a token that was renewed in its file is taken up.
        return kopf.login_with_kubeconfig(**kwargs) if os.environ.get("KUBECONFIG") else _service_account()

    where: dict[str, Any] = {"namespaces": namespaces} if namespaces else {"clusterwide": True}
    tasks = await kopf.spawn_tasks(registry=registry, stop_flag=stop, ready_flag=ready, standalone=True, **where)
    on_signals(signalled)
    try:
        # Not kopf's own way to wait: it takes every task of the process for one of its own, waits for them and cancels them.
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
