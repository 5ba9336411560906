"""Finding the control plane's programs: which are taken, which are passed over, and what is said where one is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from e2e.controlplane import build, tools
from e2e.controlplane.netns import NoNamespace, require_inside
from e2e.controlplane.tools import TOOLS, Program, Tool

ETCD = next(tool for tool in TOOLS if tool.name == "etcd")
KUBERNETES = next(tool for tool in TOOLS if tool.name == "kubernetes")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and nothing on PATH but what a test puts there."""
    for name in ("assets", "path", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("FOREBAY_TOOLS", str(tmp_path / "cache"))
    return tmp_path


def program(folder: Path, name: str, words: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)
    return path


def pinned(tool: Tool, patch: str = "0") -> str:
    return ".".join([*tool.version.split(".")[:2], patch])


def test_assets_come_before_path_and_only_the_minor_version_counts(machine: Path) -> None:
    on_path = program(machine / "path", "etcd", f"etcd Version: {pinned(ETCD, '99')}")
    assert build.find(ETCD, ETCD.programs[0]) == on_path
    in_assets = program(machine / "assets", "etcd", f"etcd Version: {pinned(ETCD)}")
    assert build.find(ETCD, ETCD.programs[0]) == in_assets


def test_program_of_another_minor_version_is_passed_over(machine: Path) -> None:
    kubectl = next(one for one in KUBERNETES.programs if one.name == "kubectl")
    program(machine / "assets", "kubectl", "Client Version: v1.2.3")
    assert build.find(KUBERNETES, kubectl) is None
    right = program(machine / "path", "kubectl", f"Client Version: v{pinned(KUBERNETES)}")
    assert build.find(KUBERNETES, kubectl) == right


def test_program_that_does_not_run_is_passed_over(machine: Path) -> None:
    (machine / "path" / "etcd").write_text("not a program")
    (machine / "path" / "etcd").chmod(0o755)
    assert build.find(ETCD, ETCD.programs[0]) is None


def test_without_go_one_line_says_what_to_install(machine: Path) -> None:
    with pytest.raises(SystemExit) as refusal:
        build.ensure()
    message = str(refusal.value)
    assert "Go 1.26 or newer: install it" in message and "kube-apiserver" in message and "\n" not in message


def test_too_old_go_is_refused_before_the_build(machine: Path) -> None:
    program(machine / "path", "go", "go1.22.3")
    with pytest.raises(SystemExit, match=r"takes Go 1\.26 or newer"):
        build.ensure()


def test_what_is_in_the_cache_is_linked_together(machine: Path) -> None:
    for tool in TOOLS:
        home = build.home_of(tool, machine / "cache")
        (home / "manifests").mkdir(parents=True)
        for one in tool.programs:
            program(home, one.name, "")
    folder = build.ensure()
    assert build.ensure() == folder
    assert {path.name for path in (folder / "bin").iterdir()} >= {"kubectl", "helm", "karpenter", "argocd-repo-server"}
    assert all(path.exists() for path in (folder / "bin").iterdir())
    assert (folder / "kwok").is_dir() and (folder / "karpenter").is_dir() and (folder / "argocd").is_dir()


def test_new_pin_rebuilds_only_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {tool.name: tool.key for tool in TOOLS}
    shutil.copytree(tools.MODULES, tmp_path / "modules")
    monkeypatch.setattr(tools, "MODULES", tmp_path / "modules")
    assert {tool.name: tool.key for tool in TOOLS} == before
    pin = tmp_path / "modules" / "etcd" / "go.mod"
    pin.write_text(pin.read_text().replace(f"server/v3 v{ETCD.version}", "server/v3 v3.99.0"))
    assert ETCD.version == "3.99.0"
    assert {name for name, key in before.items() if {tool.name: tool.key for tool in TOOLS}[name] != key} == {"etcd"}


def test_pins_are_the_versions_that_go_mod_requires() -> None:
    assert KUBERNETES.version.startswith("1.") and f"gitVersion=v{KUBERNETES.version}" in KUBERNETES.linker_flags
    with pytest.raises(ValueError, match="does not require"):
        _ = Tool("etcd", "example.invalid/other", (Program("x", "x"),)).version


def test_scenarios_outside_the_namespace_say_how_to_run_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOREBAY_E2E_OUTSIDE", raising=False)
    with pytest.raises(NoNamespace, match=r"python -m e2e\.run"):
        require_inside()
