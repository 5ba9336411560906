"""A stand-in for NVIDIA's mig-manager, to its contract: a node's label asks for a layout by name, a label answers, devices follow.

What makes the real one hard to drive is kept. Only a change of the label's value starts anything; a layout that is applied already is
answered `success` with no `pending` in between; GPUs in use make it fail, and draining them is the caller's business; every partition
of a GPU that it changes is cleared; while it works, operands are paused and `gpu.product` is gone; and new devices show up in the
node's allocatable a moment after `success`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Any

import yaml

from e2e.controlplane.client import Client, Object, Refused

NAMESPACE, CONFIG_MAP, KEY = "gpu-operator", "default-mig-parted-config", "config.yaml"
CONFIG, STATE = "nvidia.com/mig.config", "nvidia.com/mig.config.state"
PRODUCT = "nvidia.com/gpu.product"
OPERANDS = tuple(
    f"nvidia.com/gpu.deploy.{name}" for name in ("device-plugin", "gpu-feature-discovery", "dcgm-exporter", "dcgm", "nvsm", "client")
)
PAUSED = "paused-for-mig-change"
DEVICE_IDS = {"NVIDIA-H100-80GB-HBM3": "0x233010DE", "NVIDIA-A100-SXM4-80GB": "0x20B210DE"}

_MEMORY_SLICES = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}
_DEVICES_FOLLOW_S = 0.3
_POLL_S = 0.2

Layout = dict[str, int]
"""How many of each profile one GPU holds; a GPU with MIG off has None in its place."""


class Fault(Enum):
    """What can go wrong on a node."""

    FAIL = "the driver refuses: state failed"
    STICK = "an operand does not leave: state pending for ever, operands paused"
    NO_DEVICES = "state success, but no devices show up"


class InvalidLayout(ValueError):
    """The configuration does not hold this layout, or no GPU can have it."""


class MigManager(threading.Thread):
    """Serves every node whose capacity has `nvidia.com/gpu`, until `close`.

    Args:
        config_map: name of the ConfigMap with the layouts, as in the GPU operator's `migManager.config.name`.

    Attributes:
        faults: by node name; each stays until it is taken out.
    """

    def __init__(self, api: Client, delay_s: float = 1.0, config_map: str = CONFIG_MAP) -> None:
        super().__init__(name="mig-manager", daemon=True)
        self.faults: dict[str, Fault] = {}
        self._api, self._delay_s, self._config_map = api, delay_s, config_map
        self._closed = threading.Event()
        self._layouts: dict[str, list[Layout | None]] = {}
        self._seen: dict[str, str] = {}

    def close(self) -> None:
        self._closed.set()
        self.join(10)

    def run(self) -> None:
        while not self._closed.wait(_POLL_S):
            try:
                self._look()
            except (OSError, Refused):
                continue  # the API server is away, or the node went meanwhile: look again

    def _look(self) -> None:
        for node in self._api.items("/api/v1/nodes"):
            uid, wanted = node["metadata"]["uid"], node["metadata"].get("labels", {}).get(CONFIG)
            if wanted and self._seen.get(uid) != wanted:
                gpus = int(node.get("status", {}).get("capacity", {}).get("nvidia.com/gpu", 0))
                self._layouts.setdefault(uid, [None] * gpus)
                self._seen[uid] = wanted
                self._reconfigure(node, wanted)

    def _reconfigure(self, node: Object, wanted: str) -> None:
        name, uid, labels = node["metadata"]["name"], node["metadata"]["uid"], node["metadata"]["labels"]
        try:
            target = layouts(self._configuration(), wanted, self._layouts[uid], labels.get(PRODUCT))
        except InvalidLayout:
            self._label(name, {STATE: "failed"})
            return
        if target == self._layouts[uid]:
            self._label(name, {STATE: "success"})
            return
        operands = [key for key in OPERANDS if labels.get(key, "false") != "false"]
        self._label(name, {STATE: "pending", PRODUCT: None, **dict.fromkeys(operands, PAUSED)})
        self._closed.wait(self._delay_s)
        fault = self.faults.get(name)
        if fault is Fault.STICK:
            return
        failed = fault is Fault.FAIL or self._in_use(name)
        self._label(name, {STATE: "failed" if failed else "success", PRODUCT: labels.get(PRODUCT), **dict.fromkeys(operands, "true")})
        if not failed:
            self._layouts[uid] = target
            self._closed.wait(_DEVICES_FOLLOW_S)
            self._publish(name, {} if fault is Fault.NO_DEVICES else devices(target))

    def _configuration(self) -> Mapping[str, Any]:
        config_map = self._api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{self._config_map}") or {}
        document = yaml.safe_load(config_map.get("data", {}).get(KEY, "")) or {}
        configurations: Mapping[str, Any] = document.get("mig-configs", {})
        return configurations

    def _in_use(self, node: str) -> bool:
        pods = self._api.items(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
        return any(_uses_gpu(pod) for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"))

    def _label(self, node: str, labels: Mapping[str, str | None]) -> None:
        self._api.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": dict(labels)}})

    def _publish(self, node: str, counts: Mapping[str, int]) -> None:
        status = (self._api.get(f"/api/v1/nodes/{node}") or {}).get("status", {})
        gone = {key: None for key in status.get("capacity", {}) if key.startswith("nvidia.com/")}
        resources = {**gone, **{key: str(count) for key, count in counts.items()}}
        self._api.patch(f"/api/v1/nodes/{node}/status", {"status": {"capacity": resources, "allocatable": resources}})


def layouts(configurations: Mapping[str, Any], name: str, current: list[Layout | None], product: str | None) -> list[Layout | None]:
    """Every GPU's layout after a configuration is applied; one that the configuration does not list stays as it is.

    Raises:
        InvalidLayout: no such configuration, or a layout that does not fit a GPU.
    """
    if name not in configurations:
        raise InvalidLayout(f"no configuration {name}")
    result = list(current)
    for entry in configurations[name]:
        ids = entry.get("device-filter", [])
        if ids and DEVICE_IDS.get(product or "") not in ([ids] if isinstance(ids, str) else ids):
            continue
        layout = {profile: count for profile, count in (entry.get("mig-devices") or {}).items() if count} if entry["mig-enabled"] else None
        if layout is not None and not fits(layout):
            raise InvalidLayout(f"{layout} does not fit a GPU")
        for index in range(len(current)) if entry["devices"] == "all" else entry["devices"]:
            result[index] = layout
    return result


def fits(layout: Layout) -> bool:
    """Whether a GPU of eight memory slices and seven compute slices can hold it."""
    sizes = [int(profile[0]) for profile, count in layout.items() for _ in range(count)]
    return all(size in _MEMORY_SLICES for size in sizes) and sum(sizes) <= 7 and sum(_MEMORY_SLICES[size] for size in sizes) <= 8


def devices(gpus: list[Layout | None]) -> dict[str, int]:
    """What the device plugin advertises under the mixed strategy."""
    counts = Counter({"nvidia.com/gpu": sum(layout is None for layout in gpus)})
    for layout in gpus:
        for profile, count in (layout or {}).items():
            counts[f"nvidia.com/mig-{profile.replace('+', '.')}"] += count
    return dict(counts)


def _uses_gpu(pod: Object) -> bool:
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return any(key.startswith("nvidia.com/") for container in containers for key in container.get("resources", {}).get("limits", {}))
