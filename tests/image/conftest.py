"""The image's install steps take a while and little of a processor: they run beside the tests that come first."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

_TEST = "test_the_image_runs_every_role_and_carries_nothing_else"
_threads = ThreadPoolExecutor(1)
_begun: list[Future[Path]] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins where the test that needs them is among those that are to run."""
    if session.config.option.collectonly:
        return
    for item in session.items:
        if item.name == _TEST and isinstance(item, pytest.Function):
            folder: Path = item.config._tmp_path_factory.mktemp("image")  # type: ignore[attr-defined]
            _begun.append(_threads.submit(item.module.install, folder))


@pytest.fixture(scope="session")
def image_install() -> Iterator[Future[Path]]:
    yield _begun[0]
    _threads.shutdown()
