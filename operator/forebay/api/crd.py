"""Renders the CustomResourceDefinitions from the models: structural OpenAPI 3.0 with CEL rules, as the API server wants it.

What the API server refuses and pydantic writes is rewritten here: `$ref`, `anyOf` with null, `const`, numeric exclusive bounds.
"""

from __future__ import annotations

import copy
from typing import Any

import yaml
from pydantic import BaseModel

from forebay.api.batch_class import BatchClass
from forebay.api.inference_pool import InferencePool
from forebay.api.meta import API_VERSION, GROUP, NAME_PATTERN, VERSION, K8sModel, format_duration
from forebay.api.routing_policy import RoutingPolicy

_KEPT = frozenset(
    [
        "type",
        "format",
        "description",
        "default",
        "enum",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "required",
        "properties",
        "additionalProperties",
        "items",
        "nullable",
        "maxProperties",
        "minProperties",
    ]
)


def condition(type_: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].status'


def column(name: str, path: str, kind: str = "string", wide: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": 1} if wide else {})}


AGE = column("Age", ".metadata.creationTimestamp", "date")

KINDS: dict[type[K8sModel], dict[str, Any]] = {
    BatchClass: {
        "scope": "Cluster",
        "name": NAME_PATTERN,
        "short": "fclass",
        "columns": [
            column("Tier", ".spec.tier"),
            column("Priority", ".spec.priority", "integer"),
            column("Pools", ".status.pools", "integer"),
            column("Accepted", condition("Accepted")),
            AGE,
        ],
    },
    InferencePool: {
        "scope": "Namespaced",
        # It becomes the name of a Service, which begins with a letter, and a label's value.
        "name": r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "short": "fpool",
        "scale": {
            "specReplicasPath": ".spec.scaling.minReplicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        "columns": [
            column("Ready", condition("Ready")),
            column("Replicas", ".status.replicas", "integer"),
            column("OnDemand", ".status.desired.onDemand", "integer"),
            column("Spot", ".status.desired.spot", "integer"),
            column("P95 TTFT", ".status.objective.p95TimeToFirstToken"),
            column("$/h", ".status.rate.usdPerHour"),
            AGE,
            column("Model", ".spec.model.name", wide=True),
            column("Plan", ".status.plan.summary", wide=True),
        ],
    },
    RoutingPolicy: {
        "scope": "Namespaced",
        "short": "froute",
        "columns": [
            column("Gateway", ".spec.gateway.name"),
            column("Models", ".spec.models[*].name"),
            column("Accepted", condition("Accepted")),
            column("Resolved", condition("ResolvedRefs")),
            column("Programmed", condition("Programmed")),
            AGE,
        ],
    },
}


def plural(kind: type[K8sModel]) -> str:
    name = kind.__name__.lower()
    return {"batchclass": "batchclasses", "routingpolicy": "routingpolicies"}.get(name, name + "s")


def _structural(node: Any, defs: dict[str, Any]) -> Any:
    """A schema node without what a structural schema may not hold."""
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        target = copy.deepcopy(defs[node.pop("$ref").rsplit("/", 1)[-1]])
        return _structural({**target, **node}, defs)
    if "allOf" in node and len(node["allOf"]) == 1:
        return _structural({**node.pop("allOf")[0], **node}, defs)
    if "anyOf" in node:
        choices = [choice for choice in node.pop("anyOf") if choice.get("type") != "null"]
        if len(choices) != 1:
            raise TypeError(f"a union is not structural: {choices}")
        if node.get("default", 0) is None:
            del node["default"]
        return _structural({**choices[0], **node}, defs)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for exclusive, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(exclusive), int | float) and not isinstance(node.get(exclusive), bool):
            node[plain], node[exclusive] = node[exclusive], True
    return {key: _value(key, value, defs) for key, value in node.items() if key in _KEPT or key.startswith("x-kubernetes-")} | (
        {"type": "object"} if node.get("x-kubernetes-preserve-unknown-fields") else {}
    )


def _value(key: str, value: Any, defs: dict[str, Any]) -> Any:
    if key == "properties":
        return {name: _structural(child, defs) for name, child in value.items()}
    if key in ("items", "additionalProperties"):
        return _structural(value, defs)
    return value


def _fill_defaults(node: Any) -> Any:
    """Writes defaults as a user would: durations as text, and those of an object from its fields' own, so that explain shows them."""
    if not isinstance(node, dict):
        return node
    for child in node.values():
        _fill_defaults(child)
    if node.get("additionalProperties") in (True, False):
        del node["additionalProperties"]
    if node.get("type") == "string" and isinstance(node.get("default"), int | float):
        node["default"] = format_duration(node["default"])
    if node.get("type") == "object" and isinstance(node.get("default"), dict) and "properties" in node:
        node["default"] = {name: child["default"] for name, child in node["properties"].items() if "default" in child}
    return node


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Structural OpenAPI schema of a model."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    defs = schema.pop("$defs", {})
    result: dict[str, Any] = _fill_defaults(_structural(schema, defs))
    return result


def _without_defaults(node: Any) -> Any:
    """Status has no defaults: what was not observed is absent."""
    if isinstance(node, dict):
        node.pop("default", None)
        for child in node.values():
            _without_defaults(child)
    return node


def _metadata(name_pattern: str | None) -> dict[str, Any]:
    """What an object may be called; of its metadata a CRD can restrict nothing else."""
    if name_pattern is None:
        return {"type": "object"}
    return {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63, "pattern": name_pattern}}}


def _object_schema(kind: type[K8sModel]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": (kind.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of the schema, {API_VERSION}."},
            "kind": {"type": "string", "description": f"Kind of the object, {kind.__name__}."},
            "metadata": _metadata(KINDS[kind].get("name")),
            "spec": schema_of(kind.model_fields["spec"].annotation),  # type: ignore[arg-type]
            "status": _without_defaults(schema_of(kind.model_fields["status"].annotation)),  # type: ignore[arg-type]
        },
    }


def render(kind: type[K8sModel]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    facts = KINDS[kind]
    name, plural_name = kind.__name__, plural(kind)
    subresources: dict[str, Any] = {"status": {}}
    if "scale" in facts:
        subresources["scale"] = facts["scale"]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": subresources,
        "additionalPrinterColumns": facts["columns"],
        "schema": {"openAPIV3Schema": _object_schema(kind)},
    }
    names = {
        "plural": plural_name,
        "singular": name.lower(),
        "kind": name,
        "listKind": f"{name}List",
        "shortNames": [facts["short"]],
        "categories": ["forebay"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural_name}.{GROUP}"},
        "spec": {"group": GROUP, "scope": facts["scope"], "names": names, "versions": [version]},
    }


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: the same schema object may stand in several places."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered_files() -> dict[str, str]:
    """File name to YAML text, one file per kind, as checked in under crds/."""
    return {
        f"{GROUP}_{plural(kind)}.yaml": yaml.dump(render(kind), Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
        for kind in KINDS
    }
