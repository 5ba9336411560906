"""A role that is installed alone says what a command needs, and does not end in a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"pydantic", "yaml", "kopf", "kubernetes", "aiohttp", "rich", "numpy", "onnxruntime"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from forebay.cli.main import main
raise SystemExit(main(sys.argv[1:]))
"""


def run_with_base_only(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDE, *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["crds"], "resources"),
        (["up", "."], "local"),
        (["explain", "chat"], "cli"),
        (["operator", "--image", "forebay:1"], "operator"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(words: list[str], extra: str) -> None:
    ended = run_with_base_only(*words)
    assert ended.returncode == 1
    assert f"pip install 'forebay[{extra}]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("role", ["gateway", "sidecar"])
def test_the_request_path_starts_with_the_base_alone(role: str) -> None:
    """It gets as far as its own configuration."""
    ended = run_with_base_only(role, "--help")
    assert ended.returncode == 0
    assert "--config" in ended.stdout
