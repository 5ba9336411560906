"""The CI examples are YAML, and the commands in them are commands that there are. What they do is in test_ci_runs.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from forebay.cli.main import COMMANDS
from forebay.cli.plan import add_arguments

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"


def lines(name: str) -> list[str]:
    """Every line of shell in an example."""
    found = yaml.safe_load((EXAMPLES / name).read_text())
    if name == "github.yml":
        return [line for step in found["jobs"]["plan"]["steps"] for line in step.get("run", "").splitlines()]
    return [str(line) for line in found["forebay-plan"]["script"]]


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_commands_and_options_exist(name: str) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    called = [found[1] for line in lines(name) if (found := re.search(r"^\s*forebay (.*)$", line))]
    assert called
    for words in called:
        command, *rest = re.sub(r" (>|2>|\|\|).*$", "", words).replace('"', "").split()
        assert command in COMMANDS
        args = parser.parse_args(rest)
        assert args.against == "cluster" and args.file == Path("inference") and args.kubeconfig


def test_what_is_on_no_package_index_is_installed_from_its_repository() -> None:
    for name in ("github.yml", "gitlab.yml"):
        assert [line for line in lines(name) if "pip install" in line and '"forebay[cli] @ $FOREBAY_SOURCE"' in line]
