"""A Kubernetes API as this project sees it: objects as plain dictionaries, and the few verbs that reconciling needs.

The real one talks to an API server (`kube.py`); the in-memory one (`memory.py`) honours the same rules (resourceVersion, conflicts,
status isolation, watches) and carries `forebay up`. One suite of contract tests runs against both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource: where it lives in the API."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None = None) -> str:
        """URL path of the collection; of all namespaces where none is given."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if self.namespaced and namespace else f"{root}/{self.plural}"


@dataclass(frozen=True, slots=True)
class Event:
    """One change seen by a watch. A watch begins with every existing object as ADDED, then one SYNCED with no object."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
    object: Object


class ClusterError(Exception):
    """The API refused or could not be asked. `status` is the HTTP code, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ClusterError):
    """404: the object, or its kind, does not exist."""


class Conflict(ClusterError):
    """409: the object changed meanwhile, exists already, or another field manager owns the field."""


class Invalid(ClusterError):
    """400 or 422: validation refused the object."""


class Forbidden(ClusterError):
    """401 or 403: the account may not do this."""


class Unavailable(ClusterError):
    """No answer, or 429 and 5xx: worth another try later."""


class Cluster(Protocol):
    """The verbs. All raise a `ClusterError` of the fitting class."""

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """The object, or None where there is none (also where the kind is not installed)."""

    async def list(self, kind: Kind, namespace: str | None = None, labels: Labels | None = None) -> list[Object]:
        """Objects of one namespace, or of all. NotFound where the kind is not installed."""

    async def create(self, obj: Object) -> Object:
        """A new object; Conflict where it exists. `generateName` is honoured."""

    async def apply(self, obj: Object, *, manager: str, subresource: str | None = None, force: bool = False) -> Object:
        """Server-side apply: creates or merges; Conflict names the other manager unless forced."""

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Object, *, subresource: str | None = None, manager: str | None = None
    ) -> Object:
        """JSON merge patch. A `metadata.resourceVersion` in the patch makes it conditional."""

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str | None = None, grace_s: int | None = None) -> bool:
        """False where there was nothing to delete. With `uid` only that very object is deleted."""

    async def evict(self, namespace: str, name: str) -> bool:
        """Evict a pod through its disruption budgets; False where a budget does not allow it now."""

    def watch(self, kind: Kind, namespace: str | None = None, labels: Labels | None = None) -> AsyncIterator[Event]:
        """Changes without end; survives disconnects and 410 by listing again, and then also reports what vanished meanwhile."""


FIELD_MANAGER = "forebay"

_CORE = "v1"
PODS = Kind(_CORE, "Pod", "pods")
NODES = Kind(_CORE, "Node", "nodes", namespaced=False)
SERVICES = Kind(_CORE, "Service", "services")
CONFIG_MAPS = Kind(_CORE, "ConfigMap", "configmaps")
SECRETS = Kind(_CORE, "Secret", "secrets")
SERVICE_ACCOUNTS = Kind(_CORE, "ServiceAccount", "serviceaccounts")
NAMESPACES = Kind(_CORE, "Namespace", "namespaces", namespaced=False)
EVENTS = Kind("events.k8s.io/v1", "Event", "events")
DEPLOYMENTS = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SETS = Kind("apps/v1", "ReplicaSet", "replicasets")
ENDPOINT_SLICES = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
POD_DISRUPTION_BUDGETS = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")
ROLES = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
CRDS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
NODE_POOLS = Kind("karpenter.sh/v1", "NodePool", "nodepools", namespaced=False)
NODE_CLAIMS = Kind("karpenter.sh/v1", "NodeClaim", "nodeclaims", namespaced=False)
INFERENCE_POOLS = Kind("forebay.dev/v1alpha1", "InferencePool", "inferencepools")
ROUTING_POLICIES = Kind("forebay.dev/v1alpha1", "RoutingPolicy", "routingpolicies")
BATCH_CLASSES = Kind("forebay.dev/v1alpha1", "BatchClass", "batchclasses", namespaced=False)

ALL_KINDS = tuple(value for value in list(globals().values()) if isinstance(value, Kind))


def kind_of(obj: Object) -> Kind:
    """The Kind of an object by its apiVersion and kind.

    Raises:
        KeyError: a kind that this project does not use.
    """
    return _BY_NAME[obj["apiVersion"], obj["kind"]]


_BY_NAME = {(kind.api_version, kind.name): kind for kind in ALL_KINDS}
