"""Which models of a folder can be asked, and how: a policy's model name, a key of its first tenant, and the pool that answers."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from forebay.adapters.cluster import BATCH_CLASSES, INFERENCE_POOLS, ROUTING_POLICIES, SECRETS, Object
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec, Task
from forebay.api.routing_policy import RoutingPolicySpec
from forebay.local.folder import Folder
from forebay.planning.gateway_workload import gateway_name
from forebay.runtime.errors import ForebayError


@dataclass(frozen=True, slots=True)
class Door:
    """One model. `gateway` is `namespace/service`, as `Local.gateways` has it; `pool` is `namespace/name`."""

    task: Task
    model: str
    key: str
    gateway: str
    pool: str
    batch_class: str


def find_doors(folder: Folder) -> dict[Task, Door]:
    """The first model of each task.

    Raises:
        ForebayError: there is no chat model that can be asked; the demo is about one.
    """
    found: dict[Task, Door] = {}
    for (kind, namespace, _), obj in folder.objects.items():
        if kind == ROUTING_POLICIES:
            spec = RoutingPolicySpec.model_validate(obj["spec"])
            if (door := _door(folder, namespace, spec)) is not None:
                found.setdefault(door.task, door)
    if Task.CHAT not in found:
        raise ForebayError(
            "--demo asks a chat model, and this folder lets nobody ask one: it needs a RoutingPolicy with a tenant whose Secret is in the"
            " folder too, and a rule whose first route is an InferencePool of task Chat; see examples/quickstart"
        )
    for door in found.values():
        _check_classes(folder, door)
    return found


def _check_classes(folder: Folder, door: Door) -> None:
    known = class_specs(folder)
    for name in (door.batch_class, *pool_specs(folder)[door.pool].classes):
        if name not in known:
            raise ForebayError(f"model {door.model} and its pool {door.pool} need BatchClass {name}, and this folder has none of that name")


def _door(folder: Folder, namespace: str, spec: RoutingPolicySpec) -> Door | None:
    route = spec.rules[0].route[0]
    place = route.namespace or namespace
    pool = folder.objects.get((INFERENCE_POOLS, place, route.pool))
    keys = [key for tenant in spec.tenants[:1] if (key := _key(folder.objects.get((SECRETS, namespace, tenant.api_keys_from.secret_ref))))]
    if pool is None or not keys:
        return None
    return Door(
        task=InferencePoolSpec.model_validate(pool["spec"]).model.task,
        model=spec.models[0].name,
        key=keys[0],
        gateway=f"{namespace}/{gateway_name(spec.gateway.name)}",
        pool=f"{place}/{route.pool}",
        batch_class=spec.classify.default_class,
    )


def _key(secret: Object | None) -> str:
    """One API key of a Secret, empty where it has none."""
    if secret is None:
        return ""
    for plain in (secret.get("stringData") or {}).values():
        return str(plain)
    for encoded in (secret.get("data") or {}).values():
        try:
            return base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def pool_specs(folder: Folder) -> dict[str, InferencePoolSpec]:
    """Every pool of a folder by `namespace/name`."""
    pools = {f"{ns}/{name}": obj for (kind, ns, name), obj in folder.objects.items() if kind == INFERENCE_POOLS}
    return {name: InferencePoolSpec.model_validate(obj["spec"]) for name, obj in pools.items()}


def class_specs(folder: Folder) -> dict[str, BatchClassSpec]:
    """Every class of a folder by its name."""
    return {name: BatchClassSpec.model_validate(obj["spec"]) for (kind, _, name), obj in folder.objects.items() if kind == BATCH_CLASSES}
