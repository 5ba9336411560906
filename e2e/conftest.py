"""Fixtures of the scenarios. They run only in a network namespace of their own, which `python -m e2e.run` enters."""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from e2e.controlplane.argocd import ArgoCD
from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.netns import require_inside
from e2e.controlplane.prometheus import Prometheus
from e2e.forebay import Forebay
from e2e.mig_manager import MigManager
from e2e.pods import Pods
from e2e.release import Release
from e2e.run import TOOLS

ROOT = Path(__file__).parents[1]


def pytest_configure() -> None:
    """SIGTERM ends a run as Ctrl-C does: fixtures end what they started."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """The running control plane. Its logs stay when a test failed."""
    require_inside()
    with ControlPlane(Path(os.environ[TOOLS])) as running:
        yield running
        running.keep = request.session.testsfailed > 0


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> None:
    """Forebay's three kinds are served."""
    control_plane.install_crds(ROOT / "crds")


@pytest.fixture(scope="session")
def pods(control_plane: ControlPlane) -> Iterator[Pods]:
    """Forebay's pods run as local processes."""
    with Pods(control_plane) as running:
        yield running


@pytest.fixture(scope="session")
def argocd(control_plane: ControlPlane, crds: None) -> Iterator[ArgoCD]:
    """A running Argo CD with the health checks of the documentation."""
    checks = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "argocd").glob("*.lua"))}
    with ArgoCD(control_plane, checks) as running:
        yield running


@pytest.fixture(scope="session")
def prometheus(control_plane: ControlPlane) -> Iterator[Prometheus]:
    """A running Prometheus that scrapes every pod of Forebay's each second."""
    with Prometheus(control_plane) as running:
        yield running


@pytest.fixture
def mig_manager(control_plane: ControlPlane) -> Iterator[MigManager]:
    """A mig-manager that takes half a second per node."""
    running = MigManager(control_plane.api, delay_s=0.5)
    running.start()
    yield running
    running.close()


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, deleted at its end with all that is in it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    name = f"{words[:40].strip('-')}-{secrets.token_hex(3)}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="session")
def operator(control_plane: ControlPlane, crds: None, pods: Pods) -> Release:
    """The chart, installed: a running operator with the rights of its own account."""
    release = Release(control_plane, pods)
    release.install()
    return release


@pytest.fixture
def forebay(control_plane: ControlPlane, operator: Release, namespace: str) -> Iterator[Forebay]:
    """A namespace in which the three resources work. Its pools and policies end with it, and classes that begin with its name."""
    refusals = operator.refusals()
    yield Forebay(control_plane, operator, namespace)
    assert not [line for line in operator.refusals() if line not in refusals]
    mine = [name for name in control_plane.kubectl("get", "batchclasses", "-o", "name").split() if f"/{namespace}-" in name]
    if mine:
        control_plane.kubectl("delete", *mine, "--wait=false", "--ignore-not-found")
    for kind in ("routingpolicies", "inferencepools.forebay.dev"):
        control_plane.kubectl("delete", kind, "--all", "-n", namespace, "--wait=false", "--ignore-not-found")
