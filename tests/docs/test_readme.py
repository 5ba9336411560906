"""What the README shows works as it is printed: its resources are admitted and planned, its commands and links exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from forebay.api.admission import is_ours, validate
from forebay.api.yaml import read_text
from forebay.cli.main import COMMANDS
from forebay.planning.gateway_workload import gateway_name

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_its_resources_are_admitted() -> None:
    blocks: list[str] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    ours = [obj for block in blocks for _, obj in read_text(block) if is_ours(obj)]
    assert [obj["kind"] for obj in ours] == ["BatchClass", "InferencePool", "RoutingPolicy"]
    for obj in ours:
        assert validate(obj, strict_unknown=True)[1] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_its_commands_exist() -> None:
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(re.search(rf"^{name}\b", targets, re.MULTILINE) for name in re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert {name for name in re.findall(r"\bforebay (\w+) ", README) if name in COMMANDS} >= {"up", "top", "explain", "replay"}
    assert f"http://{gateway_name('default')}/v1" in README
    assert "quickstart-key" in (ROOT / "examples" / "quickstart" / "routing.yaml").read_text()
