"""The CI examples' steps, run as a runner runs them, with a `forebay` that ends in each way that it may."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"
GITHUB = yaml.safe_load((EXAMPLES / "github.yml").read_text())["jobs"]["plan"]["steps"]
GITLAB = yaml.safe_load((EXAMPLES / "gitlab.yml").read_text())["forebay-plan"]

KUBECONFIG = "apiVersion: v1\nusers:\n- name: '$HOME `id` %s'\n"
TABLE, WRONG = "POOL  REPLICAS  $/H", '! `objective` of "chat" would break'
CODES = [0, 1, 2, 64]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="runners have bash")


@dataclass(frozen=True)
class Done:
    """What a step left: its exit code, what the log shows, the files it wrote, and what was called."""

    code: int
    log: str
    folder: Path

    def file(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    @property
    def calls(self) -> list[str]:
        return self.file("calls").splitlines()


def ran(script: str, folder: Path, code: int = 0, **environment: str) -> Done:
    """Runs a script of bash in a folder. What it calls says so in `calls`; `forebay` prints a table and an error and ends with the code."""
    (programs := folder / "bin").mkdir(exist_ok=True)
    says = f"printf '%s\\n' '{TABLE}'\nprintf '%s\\n' '{WRONG}' >&2\nexit {code}\n"
    for name, does in (("forebay", says), ("pip", "exit 0\n")):
        (path := programs / name).write_text(f'#!/bin/sh\nprintf \'%s\\n\' "{name} $*" >> "{folder}/calls"\n{does}')
        path.chmod(0o755)
    path = folder / "step.sh"
    path.write_text(script)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), **environment}
    # As GitHub calls it; GitLab sets -e as well.
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", str(path)], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return Done(done.returncode, done.stdout + done.stderr, folder)


def github(name: str, folder: Path, code: int = 0, **environment: str) -> Done:
    """One step of the workflow, by its name."""
    step: dict[str, Any] = next(step for step in GITHUB if step.get("name") == name)
    assert step.get("env", {}).keys() <= environment.keys(), "the step gets what the test does not give"
    runner = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary", "RUNNER_TEMP": "."}
    return ran(step["run"], folder, code, **{key: str(folder / path) for key, path in runner.items()}, **environment)


def gitlab(folder: Path, code: int = 0, **environment: str) -> Done:
    """The job's script as GitLab's runner writes it: one script that is evaluated at the end of a pipe."""
    (folder / "job").write_text("\n".join(GITLAB["script"]))
    return ran('set -o pipefail\n: | eval "$(cat job)"\nexit 0\n', folder, code, FOREBAY_SOURCE="git+https://a.b/c.git@1", **environment)


@pytest.mark.parametrize("code", CODES)
def test_github_ends_as_the_plan_does_and_its_summary_says_what_was_said(tmp_path: Path, code: int) -> None:
    done = github("Plan", tmp_path, code, FOREBAY_KUBECONFIG=KUBECONFIG)
    assert done.code == code
    assert done.log.splitlines() == [TABLE, WRONG]
    assert done.file("summary") == f"```\n{TABLE}\n{WRONG}\n```\n"
    assert done.calls == [f"forebay plan -f inference --against cluster --kubeconfig {tmp_path}/kubeconfig"]


def test_github_gives_the_secret_to_nobody_else_and_as_it_is(tmp_path: Path) -> None:
    done = github("Plan", tmp_path, FOREBAY_KUBECONFIG=KUBECONFIG)
    assert done.file("kubeconfig") == KUBECONFIG
    assert (tmp_path / "kubeconfig").stat().st_mode & 0o077 == 0
    assert "users" not in done.log + done.file("summary")


@pytest.mark.parametrize("secret", [KUBECONFIG, ""], ids=["there", "none"])
def test_github_plans_where_there_is_a_secret_and_says_so_where_there_is_none(tmp_path: Path, secret: str) -> None:
    done = github("Look for the secret", tmp_path, FOREBAY_KUBECONFIG=secret)
    assert (done.code, done.log) == (0, "")
    assert done.file("output") == ("there=true\n" if secret else "")
    assert done.file("summary").startswith("Not planned: there is no secret FOREBAY_KUBECONFIG") == (not secret)
    first, *others = GITHUB
    assert first["id"] == "secret" and "if" not in first
    assert {step["if"] for step in others} == {"steps.secret.outputs.there == 'true'"}


def test_github_installs_from_where_the_repository_is_kept(tmp_path: Path) -> None:
    done = github("Install", tmp_path, FOREBAY_SOURCE="git+https://a.b/c.git@1")
    assert (done.code, done.calls) == (0, ["pip install forebay[cli] @ git+https://a.b/c.git@1"])


@pytest.mark.parametrize("code", CODES)
def test_gitlab_ends_as_the_plan_does_and_keeps_what_was_said(tmp_path: Path, code: int) -> None:
    done = gitlab(tmp_path, code, FOREBAY_KUBECONFIG="/tmp/a file")
    assert done.code == code
    assert done.log.splitlines() == [TABLE, WRONG]
    assert [done.file(path) for path in GITLAB["artifacts"]["paths"]] == [f"{TABLE}\n{WRONG}\n"]
    assert GITLAB["artifacts"]["when"] == "always", "kept where the job fails, which is when it is wanted"
    installed, planned = done.calls
    assert installed == "pip install --quiet forebay[cli] @ git+https://a.b/c.git@1"
    assert planned == "forebay plan -f inference --against cluster --kubeconfig /tmp/a file"


def test_gitlab_passes_and_says_so_where_there_is_no_variable(tmp_path: Path) -> None:
    done = gitlab(tmp_path, 2)
    assert (done.code, done.calls) == (0, [])
    assert done.log == "Not planned, there is no variable FOREBAY_KUBECONFIG here\n"
