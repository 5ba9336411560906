"""What every test may use: `figures`, for what a test has measured and people should see at the end of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# Nothing is timed, also not one example of a property: how long it takes depends on who else uses the machine.
settings.register_profile("untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_FIGURES: list[str] = []


@pytest.fixture
def figures() -> Callable[[str], None]:
    """Takes a line that is printed below the run's summary, whether or not the test passes."""
    return _FIGURES.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _FIGURES:
        terminalreporter.write_line(line)
