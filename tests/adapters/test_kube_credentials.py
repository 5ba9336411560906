"""How `KubeCluster` gets in: kubeconfig, service account, and what it says where it does not."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.adapters.kube_server import Recorder, kubeconfig, served

from forebay.adapters.cluster import (
    NODES,
    Cluster,
    Forbidden,
    Object,
    Unavailable,
)
from forebay.adapters.kube import KubeCluster
from forebay.runtime.errors import ForebayError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of a server at 127.0.0.1, signed by itself; it serves as client certificate too."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *key, *subject], cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate[0]))
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize("way", ["authority", "insecure", "client certificate", "stranger"])
def test_a_kubeconfigs_credentials_are_used(tmp_path: Path, certificate: tuple[Path, Path], way: str) -> None:
    async def check() -> None:
        recorder, context = Recorder(), server_side(certificate)
        cluster: Object = {"insecure-skip-tls-verify": True} if way == "insecure" else {"certificate-authority": str(certificate[0])}
        user: Object = {"token": "secret"}
        if way == "client certificate":
            context.verify_mode = ssl.CERT_REQUIRED
            user = {"client-certificate": str(certificate[0]), "client-key": str(certificate[1])}
        async with served(recorder, context) as server:
            path = kubeconfig(tmp_path, server, cluster if way != "stranger" else {}, user)
            connection = await KubeCluster.connect(path)
            if way == "stranger":
                with pytest.raises(Unavailable, match="certificate verify failed"):
                    await connection.get(NODES, None, "n")
            else:
                await connection.get(NODES, None, "n")
                assert recorder.tokens == ["" if way == "client certificate" else "Bearer secret"]
            await connection.close()

    asyncio.run(check())


def test_a_pods_service_account_is_used(tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        (tmp_path / "token").write_text("from-the-pod")
        recorder = Recorder()
        async with served(recorder, server_side(certificate)) as server:
            monkeypatch.delenv("KUBECONFIG", raising=False)
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.rpartition(":")[2])
            where = "kubernetes.aio.config.incluster_config"
            monkeypatch.setattr(f"{where}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
            monkeypatch.setattr(f"{where}.SERVICE_CERT_FILENAME", str(certificate[0]))
            cluster = await KubeCluster.connect()
            await cluster.get(NODES, None, "n")
            await cluster.close()
        assert recorder.tokens == ["bearer from-the-pod"]

    asyncio.run(check())


@pytest.mark.parametrize("text", ["", "5", "{: [", "apiVersion: v1\nkind: Config\n", None])
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "broken"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ForebayError, match=r"no way to reach a Kubernetes API: .*broken"):
        asyncio.run(KubeCluster.connect(path))


@pytest.mark.real_cluster
def test_who_may_not_is_told_so(api_server: Path) -> None:
    async def check() -> None:
        nobody = await KubeCluster.connect(api_server.with_name("nobody.kubeconfig"))
        stranger_config = json.loads(api_server.read_text())
        stranger_config["users"][0]["user"]["token"] = "wrong"
        stranger_path = api_server.with_name("stranger.kubeconfig")
        stranger_path.write_text(json.dumps(stranger_config))
        stranger = await KubeCluster.connect(stranger_path)
        with pytest.raises(Forbidden, match='User "nobody" cannot list resource "nodes"'):
            await nobody.list(NODES)
        with pytest.raises(Forbidden, match="Unauthorized"):
            await stranger.list(NODES)
        for cluster in (nobody, stranger):
            await cluster.close()

    asyncio.run(check())


def test_both_are_clusters() -> None:
    """The type checker holds both implementations to the protocol here."""
    from forebay.adapters.memory import MemoryCluster

    memory: Cluster = MemoryCluster()
    kinds: list[type[Cluster]] = [KubeCluster, MemoryCluster]
    assert type(memory) in kinds
