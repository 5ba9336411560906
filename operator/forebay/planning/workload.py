"""Kubernetes objects of a pool: Deployments (one per variant), the Service in front of their sidecars, and the sidecars' ConfigMap.

A pod template, once applied, is applied again only when the pool's own part of it changed. So neither an upgrade of the operator nor a
change of class or policy restarts a GPU pod; the sidecar's image moves with the pool's own next rollout.
"""

from __future__ import annotations

import copy
from typing import Any

from forebay.api.canonical import bounded_name, canonical, short_hash
from forebay.api.inference_pool import FULL, InferencePoolSpec
from forebay.api.meta import API_VERSION
from forebay.planning.image import pod_ip, restricted
from forebay.planning.mig import mig_resource
from forebay.planning.snapshot import SPOT, PoolIdentity, Settings
from forebay.planning.variants import (
    LABEL_CAPACITY_TYPE,
    LABEL_PART_OF,
    LABEL_POOL,
    LABEL_ROUTED,
    LABEL_VARIANT,
    PART_OF,
    Variant,
    qualified,
)

SIDECAR_PORT = 9400
SIDECAR_NAME = "forebay-sidecar"
CONFIG_FOLDER = "/etc/forebay"
ANNOTATION_TEMPLATE = "forebay.dev/template-hash"
ANNOTATION_ACCELERATOR = "forebay.dev/accelerator"
ANNOTATION_PARTITION = "forebay.dev/partition"
DEFAULT_GRACE_S = 60
MAX_SURGE = 0.25
"""Share of a variant's replicas that a new template brings up beside the old ones. Kubernetes rounds it up."""
GRACE_MARGIN_S = 5


def service_name(pool: str) -> str:
    return bounded_name(pool, "forebay")


def config_name(pool: str) -> str:
    return bounded_name(pool, "forebay-sidecar")


def deployment_name(pool: str, variant: Variant) -> str:
    return bounded_name(pool, variant.name)


def owner(pool: PoolIdentity, kind: str = "InferencePool") -> dict[str, Any]:
    """The reference that lets Kubernetes delete a child with its owner."""
    return {"apiVersion": API_VERSION, "kind": kind, "name": pool.name, "uid": pool.uid, "controller": True, "blockOwnerDeletion": False}


def metadata(pool: PoolIdentity, name: str, **extra: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "forebay", LABEL_PART_OF: PART_OF, LABEL_POOL: pool.name}
    return {"name": name, "namespace": pool.namespace, "labels": labels, "ownerReferences": [owner(pool)], **extra}


def config_map(pool: PoolIdentity, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(pool, config_name(pool.name)),
        "data": {"sidecar.json": canonical(document).decode()},
    }


def service(pool: PoolIdentity) -> dict[str, Any]:
    """Headless: the gateway picks endpoints itself. Selecting on the routed label is what lets a replica be taken out without ending it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(pool, service_name(pool.name)),
        "spec": {
            "clusterIP": "None",
            "selector": {LABEL_POOL: pool.name, LABEL_ROUTED: "true"},
            "ports": [{"name": "http", "port": SIDECAR_PORT, "targetPort": SIDECAR_PORT, "protocol": "TCP"}],
        },
    }


def template_hash(spec: InferencePoolSpec, variant: Variant) -> str:
    """Hash of the pool's own part of a pod template: what a user changed, never what Forebay adds.

    Everything is named: a field that a later version of the API adds must not restart pods that do not use it.
    """
    capacity = spec.capacity
    nodes = [_requirements(variant), variant.partition, variant.gpus, capacity.spot.enabled, capacity.nodes.backend.value]
    return short_hash([spec.server.template, spec.server.port, variant.name, *nodes])


def _drain_token(pool: PoolIdentity) -> str:
    """Keeps those who can reach a pod, but not read it in the API, from draining it."""
    return short_hash(["drain", pool.uid])


def _sidecar(pool: PoolIdentity, spec: InferencePoolSpec, settings: Settings, grace_s: int) -> dict[str, Any]:
    probe = {"path": "/healthz", "port": SIDECAR_PORT}
    return {
        "name": SIDECAR_NAME,
        "image": settings.sidecar_image,
        "restartPolicy": "Always",
        "args": [
            "sidecar", "--config", f"{CONFIG_FOLDER}/sidecar.json", "--host", "$(POD_IP)", "--port", str(SIDECAR_PORT),
            "--engine", f"$(POD_IP):{spec.server.port}", "--drain-token", _drain_token(pool),
            "--grace", f"{max(1, grace_s - GRACE_MARGIN_S)}s",
        ],
        "env": [pod_ip()],
        "ports": [{"name": SIDECAR_NAME, "containerPort": SIDECAR_PORT, "protocol": "TCP"}],
        "startupProbe": {"httpGet": probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {**probe, "path": "/readyz"}, "periodSeconds": 2, "failureThreshold": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": restricted(),
        "volumeMounts": [{"name": SIDECAR_NAME, "mountPath": CONFIG_FOLDER, "readOnly": True}],
    }  # fmt: skip


def _gpu_resource(variant: Variant) -> dict[str, str]:
    if not variant.gpus:
        return {}
    resource = "nvidia.com/gpu" if variant.partition == FULL else mig_resource(variant.partition)
    return {resource: str(variant.gpus)}


def _ask_for(server: dict[str, Any], resource: dict[str, str]) -> None:
    """The variant's GPUs in place of those that the user's template asks for."""
    asked = server.get("resources", {})
    kept = {kind: _not_nvidia(asked[kind]) for kind in ("limits", "requests") if kind in asked}
    server["resources"] = {**asked, **kept, "limits": {**kept.get("limits", {}), **resource}}


def _not_nvidia(amounts: dict[str, Any]) -> dict[str, Any]:
    return {name: amount for name, amount in amounts.items() if not name.startswith("nvidia.com/")}


def _requirements(variant: Variant) -> list[dict[str, Any]]:
    listed = variant.accelerator.requirements if variant.accelerator else []
    return [r.model_dump(mode="json", by_alias=True, exclude_defaults=True) for r in listed]


def _node_affinity(pod: dict[str, Any], spec: InferencePoolSpec, variant: Variant) -> None:
    """Adds the accelerator's requirements and the capacity type to every term the user's template already has.

    On-demand is whatever is not spot: so are reserved nodes, and nodes that nobody labelled.
    """
    expressions = _requirements(variant)
    if spec.capacity.spot.enabled:
        expressions.append({"key": LABEL_CAPACITY_TYPE, "operator": "In" if variant.capacity_type == SPOT else "NotIn", "values": [SPOT]})
    if not expressions:
        return
    required = (
        pod.setdefault("affinity", {}).setdefault("nodeAffinity", {}).setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    for term in required.setdefault("nodeSelectorTerms", [{}]):
        term["matchExpressions"] = [*term.get("matchExpressions", []), *expressions]


def pod_template(pool: PoolIdentity, spec: InferencePoolSpec, variant: Variant, settings: Settings, own_nodes: bool) -> dict[str, Any]:
    """The user's template with the sidecar, the variant's node selection and GPU resource, and a drain before the server is stopped."""
    template = copy.deepcopy(spec.server.template)
    pod = template["spec"]
    grace_s = pod.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
    pod["initContainers"] = [_sidecar(pool, spec, settings, grace_s), *pod.get("initContainers", [])]
    pod["volumes"] = [*pod.get("volumes", []), {"name": SIDECAR_NAME, "configMap": {"name": config_name(pool.name)}}]
    if resource := _gpu_resource(variant):
        _ask_for(pod["containers"][0], resource)
    for container in pod["containers"]:
        # Kubernetes stops native sidecars last, so without this the server would go first and break its streams.
        container.setdefault("lifecycle", {}).setdefault(
            "preStop", {"httpGet": {"path": f"/drain?token={_drain_token(pool)}", "port": SIDECAR_PORT}}
        )
    if own_nodes or variant.partition != FULL:
        pod["nodeSelector"] = {**pod.get("nodeSelector", {}), LABEL_POOL: qualified(pool.namespace, pool.name)}
    _node_affinity(pod, spec, variant)
    meta = template.get("metadata", {})
    template["metadata"] = {
        **meta,
        "labels": {
            **meta.get("labels", {}),
            **_selector(pool, variant),
            LABEL_ROUTED: "true",
            LABEL_PART_OF: PART_OF,
            LABEL_CAPACITY_TYPE: variant.capacity_type,
        },
    }
    return template


def _selector(pool: PoolIdentity, variant: Variant) -> dict[str, str]:
    return {LABEL_POOL: pool.name, LABEL_VARIANT: variant.name}


def deployment(
    pool: PoolIdentity,
    spec: InferencePoolSpec,
    variant: Variant,
    replicas: int,
    settings: Settings,
    *,
    own_nodes: bool,
    surges: bool = True,
) -> dict[str, Any]:
    """The Deployment of one variant.

    With `own_nodes` its pods stand only on nodes that carry the pool's label. A new template comes up beside the old one where it `surges`;
    where there is no room for that, one replica after the other is replaced.
    """
    rolling = {"maxSurge": f"{MAX_SURGE:.0%}", "maxUnavailable": 0} if surges else {"maxSurge": 0, "maxUnavailable": 1}
    annotations = {
        ANNOTATION_TEMPLATE: template_hash(spec, variant),
        ANNOTATION_ACCELERATOR: variant.accelerator.name if variant.accelerator else "",
        ANNOTATION_PARTITION: variant.partition,
    }
    meta = metadata(pool, deployment_name(pool.name, variant), annotations=annotations)
    meta["labels"] = {**meta["labels"], LABEL_VARIANT: variant.name, LABEL_CAPACITY_TYPE: variant.capacity_type}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": _selector(pool, variant)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": pod_template(pool, spec, variant, settings, own_nodes),
        },
    }
