"""Finds the control plane's programs, or builds them: `python -m e2e.controlplane.build` prints the folder that holds them all.

A program is looked for in $KUBEBUILDER_ASSETS, then on PATH (in both, one of another minor version is passed over), then in the cache
folder, and is built with Go where none of them has it. Standard library only, for it runs before anything is installed.
The folder has `bin/` and, for each tool that ships some, a folder of its manifests, so that running needs no Go and no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.controlplane.tools import TOOLS, Program, Tool

GO = (1, 26)
REPORT_EVERY_S = 30.0


class BuildFailed(SystemExit):
    """Ends the program with exit code 1 and its message on stderr."""


def cache_folder() -> Path:
    """$FOREBAY_TOOLS, or `forebay/tools` in the user's cache folder."""
    if given := os.environ.get("FOREBAY_TOOLS"):
        return Path(given).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "forebay" / "tools"


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def ensure() -> Path:
    """The folder with every program and manifest; finds and builds what is missing. Safe to call from several processes at once."""
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    found = {program.name: path for tool in TOOLS for program in tool.programs if (path := find(tool, program))}
    if any(missing(tool, root, found) for tool in TOOLS):
        with locked(root / "lock"):
            for tool in TOOLS:
                build(tool, root, missing(tool, root, found))
    return assemble(root, found)


def find(tool: Tool, program: Program) -> Path | None:
    """The program in $KUBEBUILDER_ASSETS or on PATH, where it is of the pinned minor version."""
    if program.version_args is None or tool.manifests:
        return None
    for folders in (os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ.get("PATH", "")):
        path = shutil.which(program.name, path=folders) if folders else None
        if path and _minor_of(path, program.version_args) == tool.version.split(".")[:2]:
            return Path(path).resolve()
    return None


def _minor_of(path: str, version_args: tuple[str, ...]) -> list[str] | None:
    try:
        answer = subprocess.run([path, *version_args], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv?(\d+)\.(\d+)", answer.stdout)
    return [match[1], match[2]] if match else None


def home_of(tool: Tool, root: Path) -> Path:
    return root / f"{tool.name}-{tool.key}"


def missing(tool: Tool, root: Path, found: dict[str, Path]) -> list[str]:
    """Names below the tool's folder in the cache that are not there: programs, and `manifests`."""
    wanted = [program.name for program in tool.programs if program.name not in found] + (["manifests"] if tool.manifests else [])
    return [name for name in wanted if not (home_of(tool, root) / name).exists()]


def build(tool: Tool, root: Path, names: list[str]) -> None:
    """Makes these names in the tool's folder; each appears there complete or not at all."""
    if not names:
        return
    require_go(tool, names)
    home = home_of(tool, root)
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="building-") as scratch:
        for program in tool.programs:
            if program.name in names:
                made = Path(scratch) / program.name
                flags = ["-trimpath", "-ldflags", tool.linker_flags]
                run_go(tool, f"{program.name} {tool.version}", ["build", *flags, "-o", str(made), program.package])
                made.rename(home / program.name)
        if "manifests" in names:
            made = Path(scratch) / "manifests"
            copy_manifests(tool, made)
            made.rename(home / "manifests")


def require_go(tool: Tool, names: list[str]) -> None:
    go = shutil.which("go")
    match = re.match(r"go(\d+)\.(\d+)", _go_version(go)) if go else None
    if not match or (int(match[1]), int(match[2])) < GO:
        raise BuildFailed(
            f"{', '.join(names)} {tool.version} must be built, which takes Go {GO[0]}.{GO[1]} or newer: install it (https://go.dev/dl), "
            "or put Kubernetes' own programs on PATH or in $KUBEBUILDER_ASSETS"
        )


def _go_version(go: str) -> str:
    return subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True).stdout.strip()


def run_go(tool: Tool, what: str, arguments: list[str]) -> str:
    """Output of a Go command in the tool's module. Says every half minute that it still works, and ends the program if it fails."""
    say(f"{what}: go {arguments[0]}")
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        # A cgo-free build runs on any Linux and needs no C compiler.
        process = subprocess.Popen(["go", *arguments], cwd=tool.folder, env={**os.environ, "CGO_ENABLED": "0"}, stdout=out, stderr=errors)
        try:
            while True:
                try:
                    code = process.wait(REPORT_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: still at it after {time.monotonic() - start:.0f} s")
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        errors.seek(0)
        if code:
            raise BuildFailed(f"{what}: go {arguments[0]} failed:\n" + "\n".join(errors.read().splitlines()[-20:]))
        say(f"{what}: done after {time.monotonic() - start:.0f} s")
        return out.read()


def copy_manifests(tool: Tool, target: Path) -> None:
    target.mkdir()
    source = Path(json.loads(run_go(tool, f"{tool.name} manifests", ["mod", "download", "-json", tool.module]))["Dir"])
    for pattern in tool.manifests:
        files = sorted(source.glob(pattern))
        if not files:
            raise BuildFailed(f"{tool.module} {tool.version} has no {pattern}")
        for file in files:
            # Contents only: the module cache is read-only, and copies must be removable.
            shutil.copyfile(file, target / file.name)


def assemble(root: Path, found: dict[str, Path]) -> Path:
    """A folder of links to exactly these programs and manifests; another choice of programs is another folder."""
    links: dict[str, Path] = {}
    for tool in TOOLS:
        programs = {program.name: found.get(program.name, home_of(tool, root) / program.name) for program in tool.programs}
        programs |= {alias: programs[name] for alias, name in tool.aliases.items()}
        links |= {f"bin/{name}": path for name, path in programs.items()}
        if tool.manifests:
            links[tool.name] = home_of(tool, root) / "manifests"
    folder = root / f"set-{hashlib.sha256(repr(sorted(links.items())).encode()).hexdigest()[:12]}"
    if not folder.exists():
        with locked(root / "lock"), tempfile.TemporaryDirectory(dir=root, prefix="building-") as scratch:
            made = Path(scratch) / "set"
            (made / "bin").mkdir(parents=True)
            for name, path in links.items():
                (made / name).symlink_to(path)
            if not folder.exists():
                made.rename(folder)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is under way: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    print(ensure())
