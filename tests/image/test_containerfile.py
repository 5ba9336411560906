"""The image, where none can be built: the Containerfile's own install steps, run in a clean folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "onnxruntime", "rich", "pytest", "mypy", "pip", "setuptools")


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its words, continued lines joined."""
    lines = [line for line in (ROOT / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def blocks(lock: str) -> dict[str, str]:
    """The entry of each package in a lock file."""
    found = re.findall(r"^([A-Za-z0-9._-]+==(?:.*\\\n)*.*)$", (ROOT / lock).read_text(), re.M)
    return {str(canonicalize_name(block.partition("==")[0])): block for block in found}


@pytest.fixture(scope="module")
def installed(image_install: Future[Path]) -> Path:
    return image_install.result()


def install(folder: Path) -> Path:
    """The environment that the build stage makes. Its place is another, and pip may use what it has downloaded before."""
    work, opt = folder / "src", folder / "opt"
    work.mkdir()
    # Compiling is left out: it takes most of the time and proves nothing here.
    environment = {
        "PIP_NO_COMPILE": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
    }
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTP", "http", "SSL"))}
    stage, *_ = _stages()
    for word, rest in stage:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(ROOT / source, work / target)
        elif word == "RUN":
            done = subprocess.run(rest.replace("/opt/", f"{opt}/"), shell=True, cwd=work, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return opt / "forebay"


def _stages() -> list[list[tuple[str, str]]]:
    stages: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            stages.append([])
        elif stages:
            stages[-1].append((word, rest))
    return stages


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy(source, target / source.name if target.is_dir() else target)


def test_the_image_runs_every_role_and_carries_nothing_else(installed: Path) -> None:
    (entry,) = json.loads(dict(_stages()[-1])["ENTRYPOINT"])
    for arguments in (["--version"], ["crds"], *([role, "--help"] for role in ("operator", "gateway", "sidecar"))):
        done = subprocess.run([installed / "bin" / entry, *arguments], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0 and done.stdout, done.stderr
    for module in HEAVY:
        assert subprocess.run([installed / "bin" / "python", "-c", f"import {module}"], capture_output=True).returncode == 1
    check = [sys.executable, "-m", "pip", "--python", str(installed / "bin" / "python"), "check"]
    assert subprocess.run(check, capture_output=True, text=True).stdout.strip() == "No broken requirements found."


def test_the_image_runs_as_nobody_in_particular() -> None:
    final = dict(_stages()[-1])
    assert final["USER"] == "65532:65532"
    assert final["ENTRYPOINT"] == '["forebay"]'


def test_what_is_copied_is_not_ignored() -> None:
    for name in (".containerignore", ".dockerignore"):
        first, *kept = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("**")]
        copied = {source for word, rest in _stages()[0] if word == "COPY" for source in rest.split()[:-1]}
        assert first == "*" and {line.removeprefix("!") for line in kept} == copied


def test_the_image_installs_exactly_its_part_of_the_lock() -> None:
    """`make lock` writes both files; each entry must be the same, and no dependency may be missing."""
    everything, image = blocks("requirements.lock"), blocks("requirements-image.lock")
    assert image.items() <= everything.items()
    wanted: set[tuple[str, str]] = set()
    todo = [("forebay", "operator")]
    while todo:
        name, extra = todo.pop()
        for requirement in map(Requirement, requires(name) or []):
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            for found in [(str(canonicalize_name(requirement.name)), e) for e in ("", *requirement.extras)] if applies else []:
                if found not in wanted:
                    wanted.add(found)
                    todo.append(found)
    assert {name for name, _ in wanted} - {"forebay"} <= image.keys()
    assert not {"numpy", "onnxruntime", "rich", "pytest"} & image.keys()
