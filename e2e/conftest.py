"""Fixtures of the scenarios. They run only in a network namespace of their own, which `python -m e2e.run` enters."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.netns import require_inside
from e2e.run import TOOLS


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
