"""The chart, rendered by a real helm."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.controlplane.build import cache_folder, find, home_of
from e2e.controlplane.tools import TOOLS

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "forebay"
NAMESPACE = "forebay-system"

Object = dict[str, Any]


@cache
def helm() -> str:
    """A helm of the pinned version, as the control plane's builder finds or keeps it. Skips without one, except in CI."""
    tool = next(tool for tool in TOOLS if tool.name == "helm")
    program = tool.programs[0]
    path = find(tool, program) or home_of(tool, cache_folder()) / program.name
    if path.exists():
        return str(path)
    words = f"helm {tool.version} is not on PATH, and not built yet: `python -m e2e.controlplane.build` builds it"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


class Refused(Exception):
    """helm did not render; the message is its own."""


def template(*arguments: str) -> str:
    """What `helm template` prints.

    Raises:
        Refused: helm refuses the values or the chart.
    """
    command = [helm(), "template", "forebay", str(CHART), "--namespace", NAMESPACE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def rendered(*arguments: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(template(*arguments)) if document]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def pods(objects: list[Object]) -> list[Object]:
    """Pod templates of everything that runs pods."""
    return [o["spec"]["template"] for o in objects if o["kind"] in ("Deployment", "Job")]
