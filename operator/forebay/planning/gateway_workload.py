"""Kubernetes objects of one gateway: what it may read, its configuration, and its Deployment and Service.

It runs in the namespace of its policies, so that their Secrets can be mounted there and nobody reads them through the API. The replica
count is left to whoever scales it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forebay.api.canonical import bounded_name, canonical, short_hash
from forebay.api.meta import API_VERSION
from forebay.planning.image import USER, pod_ip, restricted
from forebay.planning.variants import LABEL_PART_OF, PART_OF

if TYPE_CHECKING:
    from forebay.planning.routing import GatewaySnapshot, PolicyView

LABEL_GATEWAY = "forebay.dev/gateway"
PORT = 8080
ADMIN_PORT = 9401
CONFIG_FOLDER = "/etc/forebay/config"
KEYS_FOLDER = "/etc/forebay/keys"
GRACE_S = 60

Object = dict[str, Any]


def gateway_name(name: str) -> str:
    """The name of a gateway's objects, its Service among them."""
    return bounded_name("forebay-gateway", name)


def gateway_objects(snapshot: GatewaySnapshot, served: list[PolicyView], document: Object) -> list[Object]:
    """The objects in the order in which they need each other."""
    name = gateway_name(snapshot.name)
    meta = _metadata(snapshot, name)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"gateway.json": canonical(document).decode()}}
    namespaces = sorted({snapshot.namespace, *(pool["namespace"] for pool in document["pools"].values())})
    access = [obj for namespace in namespaces for obj in _access(snapshot, name, namespace)]
    return [account, *access, config, _service(meta), _deployment(snapshot, name, meta, served)]


def _metadata(snapshot: GatewaySnapshot, name: str) -> Object:
    owners = [
        {"apiVersion": API_VERSION, "kind": "RoutingPolicy", "name": p.name, "uid": p.uid}
        for p in sorted(snapshot.policies, key=lambda p: p.name)
    ]
    labels = {"app.kubernetes.io/managed-by": "forebay", LABEL_PART_OF: PART_OF, LABEL_GATEWAY: snapshot.name}
    return {"name": name, "namespace": snapshot.namespace, "labels": labels, "ownerReferences": owners}


def _access(snapshot: GatewaySnapshot, name: str, namespace: str) -> list[Object]:
    """Read access to EndpointSlices of one namespace: all that a gateway may read."""
    full = f"{name}.{snapshot.namespace}" if namespace != snapshot.namespace else name
    meta = {**_metadata(snapshot, full), "namespace": namespace}
    if namespace != snapshot.namespace:
        del meta["ownerReferences"]
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": snapshot.namespace}
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": full},
            "subjects": [subject],
        },
    ]


def _service(meta: Object) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": {LABEL_GATEWAY: meta["labels"][LABEL_GATEWAY]}, "ports": ports},
    }


def _keys(served: list[PolicyView]) -> tuple[list[Object], list[Object]]:
    """A volume and a mount per tenant. A Secret that does not exist yet leaves its tenant without keys, and the gateway running."""
    volumes, mounts = [], []
    for policy in served:
        for tenant in policy.spec.tenants:
            # Hyphens in both names could make two pairs look alike when joined.
            name = f"keys-{short_hash([policy.name, tenant.name])}"
            volumes.append(
                {"name": name, "secret": {"secretName": tenant.api_keys_from.secret_ref, "optional": True, "defaultMode": 0o440}}
            )
            mounts.append({"name": name, "mountPath": f"{KEYS_FOLDER}/{policy.name}/{tenant.name}", "readOnly": True})
    return volumes, mounts


def _container(snapshot: GatewaySnapshot, mounts: list[Object]) -> Object:
    return {
        "name": "gateway",
        "image": snapshot.settings.sidecar_image,
        "args": [
            "gateway", "--config", f"{CONFIG_FOLDER}/gateway.json", "--keys", KEYS_FOLDER, "--host", "$(POD_IP)", "--port", str(PORT),
            "--admin-port", str(ADMIN_PORT), "--kubernetes", snapshot.settings.gateway_kubernetes, "--grace", f"{GRACE_S - 5}s",
        ],
        "env": [pod_ip()],
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": ADMIN_PORT}, "periodSeconds": 10, "failureThreshold": 3},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": ADMIN_PORT}, "periodSeconds": 2, "failureThreshold": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": restricted(),
        "volumeMounts": [{"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True}, *mounts],
    }  # fmt: skip


def _deployment(snapshot: GatewaySnapshot, name: str, meta: Object, served: list[PolicyView]) -> Object:
    volumes, mounts = _keys(served)
    labels = {LABEL_PART_OF: PART_OF, LABEL_GATEWAY: snapshot.name}
    pod = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {"fsGroup": USER},
        "containers": [_container(snapshot, mounts)],
        "volumes": [{"name": "config", "configMap": {"name": name}}, *volumes],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "selector": {"matchLabels": {LABEL_GATEWAY: snapshot.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
