"""The mig-manager stand-in keeps the contract on real nodes: labels, states, devices, and what goes wrong."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from e2e.controlplane.cluster import ControlPlane
from e2e.mig_manager import CONFIG, CONFIG_MAP, KEY, NAMESPACE, PAUSED, PRODUCT, STATE, Fault, MigManager
from e2e.waiting import eventually

PLUGIN = "nvidia.com/gpu.deploy.device-plugin"
HALVES = [{"devices": "all", "mig-enabled": True, "mig-devices": {"3g.40gb": 2}}]
MIXED = [{"devices": [0], "mig-enabled": True, "mig-devices": {"1g.10gb": 4, "3g.40gb": 1}}]


class Node:
    """A node with two GPUs, as a test sees it."""

    def __init__(self, control_plane: ControlPlane, name: str) -> None:
        self.name, self._plane, self.path = name, control_plane, f"/api/v1/nodes/{name}"

    def ask(self, configuration: str) -> None:
        self._plane.api.patch(self.path, {"metadata": {"labels": {CONFIG: configuration}}})

    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = (self._plane.api.get(self.path) or {})["metadata"]["labels"]
        return labels

    def state(self) -> str | None:
        return self.labels().get(STATE)

    def gpus(self) -> dict[str, str]:
        allocatable = (self._plane.api.get(self.path) or {})["status"]["allocatable"]
        return {key.removeprefix("nvidia.com/"): count for key, count in allocatable.items() if key.startswith("nvidia.com/")}

    def expect_state(self, state: str) -> None:
        eventually(f"{self.name} is {state}", lambda: self.state() == state, 15)


@pytest.fixture
def node(control_plane: ControlPlane, mig_manager: MigManager) -> Iterator[Node]:
    configurations: dict[str, Any] = {"all-disabled": [{"devices": "all", "mig-enabled": False}], "halves": HALVES, "mixed": MIXED}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
            "data": {KEY: yaml.safe_dump({"version": "v1", "mig-configs": configurations})},
        },
    )
    name = f"gpu-{secrets.token_hex(3)}"
    control_plane.add_node(name, {PRODUCT: "NVIDIA-H100-80GB-HBM3", PLUGIN: "true"}, {"nvidia.com/gpu": "2"})
    yield Node(control_plane, name)
    control_plane.kubectl("delete", "node", name)


def test_layout_is_applied_and_devices_follow(node: Node) -> None:
    node.ask("halves")
    node.expect_state("pending")
    assert node.labels()[PLUGIN] == PAUSED and PRODUCT not in node.labels()
    node.expect_state("success")
    assert node.labels()[PLUGIN] == "true" and node.labels()[PRODUCT] == "NVIDIA-H100-80GB-HBM3"
    eventually("four partitions", lambda: node.gpus() == {"gpu": "0", "mig-3g.40gb": "4"}, 5)
    node.ask("mixed")
    eventually("one GPU differs", lambda: node.gpus() == {"gpu": "0", "mig-3g.40gb": "3", "mig-1g.10gb": "4"}, 15)


def test_failure_and_a_configuration_that_is_not_there(node: Node, mig_manager: MigManager) -> None:
    node.ask("absent")
    node.expect_state("failed")
    mig_manager.faults[node.name] = Fault.FAIL
    node.ask("halves")
    node.expect_state("pending")
    node.expect_state("failed")
    assert node.gpus() == {"gpu": "2"}


def test_gpu_in_use_makes_it_fail(node: Node, control_plane: ControlPlane, namespace: str) -> None:
    container = {"name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    spec = {"nodeName": node.name, "containers": [container]}
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy", "namespace": namespace}, "spec": spec})
    node.ask("halves")
    node.expect_state("pending")
    node.expect_state("failed")
    control_plane.kubectl("delete", "pod", "busy", "-n", namespace)
    node.ask("all-disabled")
    node.expect_state("success")
    node.ask("halves")
    eventually("four partitions", lambda: node.gpus().get("mig-3g.40gb") == "4", 15)


def test_operand_that_does_not_leave_keeps_it_pending(node: Node, mig_manager: MigManager) -> None:
    mig_manager.faults[node.name] = Fault.STICK
    node.ask("halves")
    node.expect_state("pending")
    mig_manager.faults.clear()
    node.ask("all-disabled")
    node.expect_state("success")
    node.ask("halves")
    eventually("four partitions", lambda: node.gpus().get("mig-3g.40gb") == "4", 15)


def test_success_without_devices(node: Node, mig_manager: MigManager) -> None:
    mig_manager.faults[node.name] = Fault.NO_DEVICES
    node.ask("halves")
    node.expect_state("success")
    eventually("no devices", lambda: node.gpus() == {}, 5)
