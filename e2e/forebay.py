"""What a scenario does with Forebay: apply resources, wait for them, send requests, look at what became of them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from e2e import resources
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane
from e2e.release import Release
from e2e.waiting import eventually
from forebay.dataplane.outcome import TAIL_BYTES, Outcome, outcome, stream_is_whole

GATEWAY_PORT = 8080


@dataclass
class Forebay:
    """One namespace with its pools and its gateway."""

    plane: ControlPlane
    operator: Release
    namespace: str

    def apply(self, *objects: Object) -> None:
        self.plane.apply(*objects)

    def kubectl(self, *arguments: str) -> str:
        return self.plane.kubectl(*arguments, "-n", self.namespace)

    def forebay(self, command: str, *arguments: str) -> str:
        """What a command of Forebay's prints about this namespace.

        Raises:
            subprocess.CalledProcessError: it ended with another code than 0.
        """
        words = [sys.executable, "-m", "forebay", command, *arguments]
        if command != "replay":
            words += ["--namespace", self.namespace, "--kubeconfig", str(self.plane.kubeconfig)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def pool(self, name: str = "chat") -> Object:
        return self.plane.api.get(f"/apis/forebay.dev/v1alpha1/namespaces/{self.namespace}/inferencepools/{name}") or {}

    def status(self, name: str = "chat") -> Object:
        found: Object = self.pool(name).get("status", {})
        return found

    def scale(self, name: str = "chat") -> Object:
        """The pool's `scale` subresource."""
        return self.plane.api.get(f"/apis/forebay.dev/v1alpha1/namespaces/{self.namespace}/inferencepools/{name}/scale") or {}

    def condition(self, plural: str, type_: str, name: str) -> Object:
        """One condition of an object, empty where it has none of that type."""
        place = "" if plural == "batchclasses" else f"namespaces/{self.namespace}/"
        path = f"/apis/forebay.dev/v1alpha1/{place}{plural}/{name}"
        listed = ((self.plane.api.get(path) or {}).get("status") or {}).get("conditions", [])
        return next((c for c in listed if c["type"] == type_), {})

    def says(self, type_: str, reason: str, name: str = "chat", plural: str = "inferencepools") -> str:
        """The message of a condition, once it has that reason."""

        def message() -> str:
            condition = self.condition(plural, type_, name)
            return str(condition["message"]) if condition.get("reason") == reason else ""

        return eventually(f"{plural}/{name} {type_} {reason}", message, 30)

    def told(self, reason: str, name: str = "chat") -> str:
        """The message of an Event about an object, once there is one."""
        return eventually(f"Event {reason}", lambda: self.events(name).get(reason, ""), 15)

    def patch(self, **spec: Any) -> None:
        """Changes the pool's spec."""
        self.kubectl("patch", "inferencepools.forebay.dev/chat", "--type=merge", "-p", json.dumps({"spec": spec}))

    def events(self, name: str) -> dict[str, str]:
        """Reasons of the Events about a namespaced object, each with its newest message."""
        found = self.plane.api.items(f"/api/v1/namespaces/{self.namespace}/events?fieldSelector=involvedObject.name%3D{name}")
        return {event["reason"]: event["message"] for event in sorted(found, key=lambda event: str(event["eventTime"]))}

    def wait(self, resource: str, condition: str = "Ready", timeout_s: int = 90) -> None:
        self.plane.kubectl("wait", resource, "-n", self.namespace, f"--for=condition={condition}", f"--timeout={timeout_s}s")

    def pods(self, selector: str) -> list[Object]:
        return self.plane.api.items(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector.replace('=', '%3D')}")

    def replicas(self, name: str = "chat") -> list[Object]:
        """Pods of a pool that are not being deleted."""
        return [p for p in self.pods(f"forebay.dev/pool={name}") if "deletionTimestamp" not in p["metadata"]]

    def ready_replicas(self, name: str = "chat") -> list[Object]:
        return [p for p in self.replicas(name) if _is_ready(p)]

    def node_pools(self) -> dict[str, Object]:
        items = self.plane.api.items("/apis/karpenter.sh/v1/nodepools")
        mine = [i for i in items if (i["metadata"].get("labels") or {}).get("forebay.dev/owner-namespace") == self.namespace]
        return {i["metadata"]["name"]: i for i in mine}

    def nodes(self) -> list[str]:
        """Nodes that Karpenter made for pools of this namespace."""
        return [n["metadata"]["name"] for n in self.plane.api.items("/api/v1/nodes?labelSelector=forebay.dev%2Fpool") if self._owns(n)]

    def _owns(self, node: Object) -> bool:
        return str(node["metadata"]["labels"]["forebay.dev/pool"]).startswith(f"{self.namespace}.")

    def gpu_bounds(self) -> dict[str, int]:
        """GPUs that the NodePools of each capacity type may have."""
        found: dict[str, int] = {}
        for pool in self.node_pools().values():
            first = pool["spec"]["template"]["spec"]["requirements"][0]["values"][0]
            found[first] = found.get(first, 0) + int(pool["spec"]["limits"]["nvidia.com/gpu"])
        return found

    def gateway(self, name: str = "default") -> str:
        """Address of a ready gateway replica."""

        def address() -> str:
            ready = [p for p in self.pods(f"forebay.dev/gateway={name}") if _is_ready(p) and "deletionTimestamp" not in p["metadata"]]
            return str(ready[0]["status"]["podIP"]) if ready else ""

        return eventually("a ready gateway", address, 60)


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


@dataclass
class Load:
    """Streams of chat requests at a steady rate, open loop, counted as the project counts: accepted, lost, refused.

    Args:
        gateway: address of the gateway.
        rps: requests per second.
        tokens: output tokens of each; may be changed under way.
    """

    gateway: str
    rps: float
    tokens: int
    model: str = "support-chat"
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._pacer = threading.Thread(target=self._pace, daemon=True)

    def __enter__(self) -> Load:
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Sends no more, and waits for what is under way; what has not ended by then would be counted nowhere."""
        self._stop.set()
        self._pacer.join()
        for thread in self._threads:
            thread.join(150)
        assert not self.in_flight, f"{self.in_flight} requests never ended"

    def _pace(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            thread = threading.Thread(target=self._one, daemon=True)
            thread.start()
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            due += 1 / self.rps
            self._stop.wait(max(0.0, due - time.monotonic()))

    @property
    def in_flight(self) -> int:
        """Requests that are under way."""
        return sum(thread.is_alive() for thread in self._threads)

    def _one(self) -> None:
        outcome = send(self.gateway, self.tokens, self.model)
        with self._lock:
            self.counts[outcome] += 1


def chat(model: str, tokens: int, **more: Any) -> Object:
    return {"model": model, "messages": [{"role": "user", "content": "say something about water"}], "max_tokens": tokens, **more}


def send(gateway: str, tokens: int, model: str = "support-chat", key: str = resources.KEY) -> str:
    """One streamed request: `finished`, `lost` (accepted and without its end), or `refused <status>`."""
    connection = http.client.HTTPConnection(gateway, GATEWAY_PORT, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(chat(model, tokens, stream=True)), headers)
        answer = connection.getresponse()
        became = outcome(answer.status, whole=stream_is_whole(answer.read()[-TAIL_BYTES:]))
        return f"{became} {answer.status}" if became is Outcome.REFUSED else str(became)
    except (OSError, http.client.HTTPException):
        return str(outcome(0, whole=False))
    finally:
        connection.close()
