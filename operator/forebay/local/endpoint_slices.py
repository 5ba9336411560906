"""Keeps the EndpointSlices of Services, for `forebay up`: what the EndpointSlice controller does in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.adapters.cluster import ENDPOINT_SLICES, NODES, PODS, SERVICES, Cluster, Object
from forebay.local.control_loop import follow
from forebay.local.rollout import is_ending, is_over, is_ready
from forebay.local.scheduler import oldest_first

SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "local.forebay.dev"
_ZONE = "topology.kubernetes.io/zone"

Ports = tuple[tuple[str, int, str], ...]
"""Name, number and protocol of each port."""


async def run_endpoint_slices(cluster: Cluster) -> None:
    """Runs until it is cancelled."""

    async def step() -> None:
        pods = oldest_first(await cluster.list(PODS))
        zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(_ZONE) for node in await cluster.list(NODES)}
        existing = {_key(one): one for one in await cluster.list(ENDPOINT_SLICES, labels={_MANAGED_BY: _MANAGER})}
        wanted = {_key(one): one for service in await cluster.list(SERVICES) for one in slices_of(service, pods, zones)}
        for key, piece in wanted.items():
            if key not in existing:
                await cluster.create(piece)
            elif any(existing[key].get(field) != piece[field] for field in ("endpoints", "ports")):
                await cluster.patch(ENDPOINT_SLICES, *key, {field: piece[field] for field in ("endpoints", "ports")})
        for namespace, name in existing.keys() - wanted.keys():
            await cluster.delete(ENDPOINT_SLICES, namespace, name)

    await follow(cluster, (SERVICES, PODS), step)


def slices_of(service: Object, pods: list[Object], zones: Mapping[str, str | None]) -> list[Object]:
    """The EndpointSlices of a Service: one for each set of port numbers that its pods have; one without endpoints where it has none."""
    namespace, selector = service["metadata"]["namespace"], service["spec"].get("selector")
    if not selector:
        return []
    groups: dict[Ports, list[Object]] = {}
    for pod in pods:
        if (
            pod["metadata"]["namespace"] == namespace
            and selector.items() <= (pod["metadata"].get("labels") or {}).items()
            and _has_address(pod)
        ):
            groups.setdefault(_ports(service, pod), []).append(pod)
    return [_slice(service, number, ports, group, zones) for number, (ports, group) in enumerate(sorted(groups.items() or [((), [])]))]


def _has_address(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("podIP")) and not is_over(pod)


def _slice(service: Object, number: int, ports: Ports, pods: list[Object], zones: Mapping[str, str | None]) -> Object:
    metadata = service["metadata"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-{number}",
            "namespace": metadata["namespace"],
            "labels": {**(metadata.get("labels") or {}), SERVICE_NAME: metadata["name"], _MANAGED_BY: _MANAGER},
            "ownerReferences": [owner],
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(pod, zones) for pod in pods],
        "ports": [{"name": name, "port": port, "protocol": protocol} for name, port, protocol in ports],
    }


def _endpoint(pod: Object, zones: Mapping[str, str | None]) -> dict[str, Any]:
    metadata, node = pod["metadata"], pod["spec"].get("nodeName", "")
    serving, ending = is_ready(pod), is_ending(pod)
    zone = zones.get(node)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": serving and not ending, "serving": serving, "terminating": ending},
        "nodeName": node,
        "targetRef": {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]},
    } | ({"zone": zone} if zone else {})


def _ports(service: Object, pod: Object) -> Ports:
    """Ports of a Service on a pod; one whose name the pod does not know is left out."""
    found = []
    for port in service["spec"].get("ports") or []:
        number = _number(port.get("targetPort", port["port"]), pod)
        if number is not None:
            found.append((port.get("name", ""), number, port.get("protocol", "TCP")))
    return tuple(found)


def _number(target: int | str, pod: Object) -> int | None:
    if isinstance(target, int):
        return target
    sidecars = [container for container in pod["spec"].get("initContainers") or [] if container.get("restartPolicy") == "Always"]
    for container in (*pod["spec"]["containers"], *sidecars):
        for port in container.get("ports") or []:
            if port.get("name") == target:
                return int(port["containerPort"])
    return None


def _key(piece: Object) -> tuple[str, str]:
    return piece["metadata"]["namespace"], piece["metadata"]["name"]
