"""One contract, two clusters: the one in memory, and a real API server (etcd and kube-apiserver, nothing else) where its binaries are.

Its programs are looked for where `make e2e` puts them ($FOREBAY_E2E_TOOLS, which it sets; $FOREBAY_TOOLS; ~/.cache/forebay/tools), in
$KUBEBUILDER_ASSETS and in ~/.cache/forebay-cp. Without them the real half is skipped, unless $FOREBAY_E2E_TOOLS promised them: then it
fails. `pytest tests/adapters -m real_cluster` runs that half alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.adapters.contract_objects import Check

from forebay.adapters.cluster import CRDS, NAMESPACES, NODE_CLAIMS, NODE_POOLS, Cluster, ClusterError
from forebay.adapters.kube import KubeCluster
from forebay.adapters.memory import MemoryCluster
from forebay.api.crd import KINDS, render


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_cluster: needs etcd and kube-apiserver")


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.real_cluster)])
def run(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """Runs a contract on one of the two clusters. Neither has Karpenter's kinds."""
    if request.param == "memory":
        return lambda check: asyncio.run(check(MemoryCluster(without=(NODE_POOLS, NODE_CLAIMS)), "default"))
    kubeconfig: Path = request.getfixturevalue("api_server")
    return lambda check: asyncio.run(_on_real(kubeconfig, check))


async def _on_real(kubeconfig: Path, check: Check) -> None:
    cluster = await KubeCluster.connect(kubeconfig)
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    try:
        await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        await check(cluster, namespace)
    finally:
        await cluster.close()


def find_tools() -> Path:
    """The folder with etcd and kube-apiserver; skips where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if promised := os.environ.get("FOREBAY_E2E_TOOLS"):
        folders = [Path(promised, "bin")]
    else:
        roots = [Path(os.environ[name]) for name in ("FOREBAY_TOOLS", "KUBEBUILDER_ASSETS") if os.environ.get(name)]
        roots += [cache / "forebay" / "tools"]
        folders = [folder for root in roots for folder in (root, *sorted(root.glob("set-*/bin")))]
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("etcd", "kube-apiserver")):
            return folder
    if promised:
        pytest.fail(f"$FOREBAY_E2E_TOOLS={promised} has no bin/etcd and bin/kube-apiserver")
    pytest.skip("no etcd and kube-apiserver found: `make e2e` builds them, or set $KUBEBUILDER_ASSETS")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig for a fresh API server with our CRDs."""
    tools, folder = find_tools(), tmp_path_factory.mktemp("api-server")
    etcd_port, peer_port, port = (free_port() for _ in range(3))
    kubeconfig = _write_credentials(folder, port)
    processes = [
        _start(folder, tools / "etcd", "--data-dir=etcd", *_etcd_urls(etcd_port, peer_port), "--unsafe-no-fsync", "--log-level=error"),
        _start(
            folder,
            tools / "kube-apiserver",
            *(f"--etcd-servers=http://127.0.0.1:{etcd_port}", f"--secure-port={port}", "--bind-address=127.0.0.1", "--cert-dir=certs"),
            *("--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key"),
            *("--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC"),
            *("--service-cluster-ip-range=10.0.0.0/24", "--advertise-address=10.255.255.254", "--disable-admission-plugins=ServiceAccount"),
        ),
    ]
    try:
        asyncio.run(_install(kubeconfig, folder, processes))
        yield kubeconfig
    finally:
        # Killed, not asked: nothing here outlives the tests, and the server would wait long for its store.
        for process in reversed(processes):
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _etcd_urls(port: int, peer_port: int) -> list[str]:
    client = f"http://127.0.0.1:{port}"
    return [f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls=http://127.0.0.1:{peer_port}"]


def _write_credentials(folder: Path, port: int) -> Path:
    subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=folder, check=True, capture_output=True)
    (folder / "tokens.csv").write_text('admin,admin,1,"system:masters"\nnobody,nobody,2\n')
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    for user in ("nobody", "admin"):
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": user}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        (folder / f"{user}.kubeconfig").write_text(json.dumps(config))
    return folder / "admin.kubeconfig"


def _start(folder: Path, program: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{program.name}.log").open("wb") as log:
        return subprocess.Popen([str(program), *arguments], cwd=folder, stdout=log, stderr=log)


async def _install(kubeconfig: Path, folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    cluster = await KubeCluster.connect(kubeconfig)
    try:
        await _until(lambda: _has_default_namespace(cluster), folder, processes)
        for kind in KINDS:
            await cluster.apply(render(kind), manager="test")
        await _until(lambda: _established(cluster), folder, processes)
    finally:
        await cluster.close()


async def _until(reached: Callable[[], Awaitable[bool]], folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + 60
    while not await reached():
        ended = [process for process in processes if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            pytest.fail(f"the API server did not start: {(folder / 'kube-apiserver.log').read_text()[-2000:]}")
        await asyncio.sleep(0.1)


async def _has_default_namespace(cluster: Cluster) -> bool:
    try:
        return await cluster.get(NAMESPACES, None, "default") is not None
    except ClusterError:
        return False


async def _established(cluster: Cluster) -> bool:
    crds = await cluster.list(CRDS)
    states = [{c["type"]: c["status"] for c in (crd.get("status") or {}).get("conditions") or ()} for crd in crds]
    return len(states) == len(KINDS) and all(state.get("Established") == "True" for state in states)
