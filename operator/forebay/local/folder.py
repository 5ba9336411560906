"""A folder of YAML as `forebay up` takes it: read as kubectl reads it, checked as an API server checks it, all problems at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forebay.adapters.cluster import (
    BATCH_CLASSES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    INFERENCE_POOLS,
    NAMESPACES,
    ROUTING_POLICIES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
    Object,
)
from forebay.api.admission import is_ours, validate
from forebay.api.inference_pool import InferencePool
from forebay.api.meta import API_VERSION, GROUP
from forebay.api.yaml import ReadError, read_dir
from forebay.local import machine
from forebay.local.machine import Machine, MachineSpec, default_machine
from forebay.runtime.errors import ForebayError

_TAKEN = {
    (kind.api_version, kind.name): kind
    for kind in (
        BATCH_CLASSES,
        INFERENCE_POOLS,
        ROUTING_POLICIES,
        NAMESPACES,
        CONFIG_MAPS,
        SECRETS,
        SERVICE_ACCOUNTS,
        SERVICES,
        DEPLOYMENTS,
    )
}

_OURS = sorted(kind.name for kind in _TAKEN.values() if kind.api_version == API_VERSION)

Address = tuple[Kind, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True)
class Folder:
    """What a folder holds: objects by their address, the machine to pretend to be, and notes on what only a cluster understands.

    `unrendered` are notes on what says that these files are to be changed before a cluster gets them, which nobody did.
    """

    objects: dict[Address, Object]
    machine: MachineSpec | None
    skipped: tuple[str, ...]
    unrendered: tuple[str, ...] = ()


class FolderError(ForebayError):
    """All that is wrong with a folder, one problem a line."""


def read_folder(path: Path) -> Folder:
    """Reads and checks a folder, or a single file, that is to hold a pool.

    Raises:
        FolderError: something in it cannot be read or would be refused, or it holds no pool.
    """
    folder = read_part(path)
    if not any(kind == INFERENCE_POOLS for kind, _, _ in folder.objects):
        raise FolderError(f"{path}: there is no InferencePool{_but(folder)}")
    return folder


def _but(folder: Folder) -> str:
    """What is there instead of a pool."""
    kinds = Counter(kind.name for kind, _, _ in folder.objects)
    there = [f"{count} {name}" for name, count in sorted(kinds.items())]
    there += [f"{len(folder.skipped)} of kinds that are left to a cluster"] if folder.skipped else []
    needed = f"{API_VERSION} InferencePool"
    return (
        f", only {', '.join(there)}: add an object of {needed}"
        if there
        else f", nor any other object: name a folder that has {needed} in it"
    )


def read_part(path: Path) -> Folder:
    """The same of resources that may be a part of what there is, such as classes without a pool.

    Raises:
        FolderError: something in it cannot be read or would be refused.
    """
    try:
        found = read_dir(path)
    except ReadError as error:
        raise FolderError(f"{error}{_rendered_by(Path(error.file))}") from error
    objects: dict[Address, Object] = {}
    machines: list[MachineSpec] = []
    skipped: list[str] = []
    unrendered: list[str] = []
    problems: list[str] = []
    for file, line, obj in found:
        where = f"{file}:{line}"
        kind = _TAKEN.get((str(obj.get("apiVersion")), str(obj.get("kind"))))
        if obj.get("kind") == machine.KIND and str(obj.get("apiVersion")).startswith("local.forebay.dev/"):
            problems += _take_machine(obj, where, machines)
        elif kind is None and str(obj.get("apiVersion")).startswith(f"{GROUP}/"):
            problems.append(f"{where}: there is no {obj.get('kind')} in {obj.get('apiVersion')}: {API_VERSION} has {', '.join(_OURS)}")
        elif str(obj.get("apiVersion")).startswith("kustomize.config.k8s.io/"):
            unrendered.append(f"{where}: files are read as they stand, and not as kustomize would change them: give {_KUSTOMIZED}")
        elif kind is None:
            skipped.append(f"{where}: {obj.get('apiVersion')} {obj.get('kind')} is left to a cluster")
        else:
            problems += _take(kind, obj, where, objects)
    if problems:
        raise FolderError("\n".join(problems))
    return Folder(objects, machines[0] if machines else _default(objects), tuple(skipped), tuple(unrendered))


_KUSTOMIZED = "the file that `kubectl kustomize DIR > FILE` writes"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml")


def _rendered_by(file: Path) -> str:
    """What would make a file of this name or content into resources, where it is none that a cluster gets as it stands."""
    if file.name in _KUSTOMIZATIONS:
        return f"; it is kustomize's: give {_KUSTOMIZED}"
    try:
        template = file.name == "Chart.yaml" or "{{" in file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return "; it is of a Helm chart: give the file that `helm template DIR > FILE` writes" if template else ""


def _take(kind: Kind, obj: Object, where: str, objects: dict[Address, Object]) -> list[str]:
    metadata = {**(obj.get("metadata") or {})}
    if kind.namespaced:
        metadata.setdefault("namespace", "default")
    obj = {**obj, "metadata": metadata}
    name = str(metadata.get("name", ""))
    address = kind, str(metadata.get("namespace", "")), name
    if not name:
        return [f"{where}: {kind.name}: metadata.name: Required value"]
    if address in objects:
        return [f"{where}: {kind.name} {name} stands here a second time"]
    problems = [f"{where}: {kind.name} {name}: {problem}" for problem in validate(obj, strict_unknown=True)[1]] if is_ours(obj) else []
    objects[address] = obj
    return problems


def _take_machine(obj: Object, where: str, machines: list[MachineSpec]) -> list[str]:
    if machines:
        return [f"{where}: there can be only one Machine"]
    try:
        machines.append(Machine.model_validate(obj).spec)
    except ValidationError as error:
        return [f"{where}: Machine: {_path(problem['loc'])}: {problem['msg']}" for problem in error.errors()]
    return []


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _default(objects: dict[Address, Object]) -> MachineSpec | None:
    pools: list[Any] = [obj for (kind, _, _), obj in objects.items() if kind == INFERENCE_POOLS]
    return default_machine(InferencePool.model_validate(pool) for pool in pools)
