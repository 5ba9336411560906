"""Kubernetes objects of one gateway: what it may read, its configuration, and its Deployment and Service.

It runs in the namespace of its policies, so that their Secrets can be mounted there and nobody reads them through the API. The replica
count is left to whoever scales it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from forebay.api.canonical import bounded_name, canonical, short_hash
from forebay.api.meta import API_VERSION
from forebay.planning.decision import Action, Ref
from forebay.planning.image import USER, pod_ip, restricted
from forebay.planning.variants import LABEL_PART_OF, PART_OF

if TYPE_CHECKING:
    from forebay.planning.routing import GatewaySnapshot, PolicyView

LABEL_GATEWAY = "forebay.dev/gateway"
PORT = 8080
ADMIN_PORT = 9401
CONFIG_FOLDER = "/etc/forebay/config"
KEYS_FOLDER = "/etc/forebay/keys"
ANNOTATION_ACCESS = "forebay.dev/access-in"
"""On a gateway's Deployment: other namespaces that it was given access to, so that it can be taken back there."""
_RBAC = "rbac.authorization.k8s.io"
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
    namespaces = sorted({snapshot.namespace, *routed_namespaces(document)})
    access = [obj for namespace in namespaces for obj in _access(snapshot, name, namespace, document)]
    noted = {**meta, "annotations": {ANNOTATION_ACCESS: ",".join(n for n in namespaces if n != snapshot.namespace)}}
    return [account, *access, config, _service(meta), _deployment(snapshot, name, noted, served)]


def routed_namespaces(document: Object) -> set[str]:
    """Namespaces of the pools that a gateway routes to."""
    return {pool["namespace"] for pool in document["pools"].values()}


def access_name(gateway: str, home: str, namespace: str) -> str:
    """Name of the Role and the RoleBinding by which a gateway, at `home`, reads the EndpointSlices of a namespace."""
    return gateway_name(gateway) if namespace == home else f"{gateway_name(gateway)}.{home}"


def revoked(gateway: str, home: str, namespaces: Iterable[str]) -> tuple[Action, ...]:
    """Takes a gateway's access to other namespaces back. No owner can do it: a policy owns nothing outside of its own."""
    kinds = ("RoleBinding", "Role")
    refs = (
        Ref(api_version=f"{_RBAC}/v1", kind=kind, namespace=namespace, name=access_name(gateway, home, namespace))
        for namespace in sorted(set(namespaces) - {home})
        for kind in kinds
    )
    return tuple(Action(verb="delete", ref=ref, reason="no route leads there any more") for ref in refs)


def _pools_in(snapshot: GatewaySnapshot, namespace: str, document: Object) -> list[Object]:
    """The pools that are routed to in another namespace own the access to it: with the last of them it goes too."""
    return [
        {"apiVersion": API_VERSION, "kind": "InferencePool", "name": pool.name, "uid": pool.uid}
        for pool in snapshot.pools
        if pool.namespace == namespace and f"{namespace}/{pool.name}" in document["pools"]
    ]


def _metadata(snapshot: GatewaySnapshot, name: str) -> Object:
    owners = [
        {"apiVersion": API_VERSION, "kind": "RoutingPolicy", "name": p.name, "uid": p.uid}
        for p in sorted(snapshot.policies, key=lambda p: p.name)
    ]
    labels = {"app.kubernetes.io/managed-by": "forebay", LABEL_PART_OF: PART_OF, LABEL_GATEWAY: snapshot.name}
    return {"name": name, "namespace": snapshot.namespace, "labels": labels, "ownerReferences": owners}


def _access(snapshot: GatewaySnapshot, name: str, namespace: str, document: Object) -> list[Object]:
    """Read access to EndpointSlices of one namespace: all that a gateway may read."""
    full = access_name(snapshot.name, snapshot.namespace, namespace)
    meta = {**_metadata(snapshot, full), "namespace": namespace}
    if namespace != snapshot.namespace:
        meta["ownerReferences"] = _pools_in(snapshot, namespace, document)
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": snapshot.namespace}
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": full},
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
