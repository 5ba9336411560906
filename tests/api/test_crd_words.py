"""What the rules for every field (docs: `kubectl explain`) ask of the CRDs as they are rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from forebay.api.crd import KINDS, render
from forebay.api.yaml import read_text

Object = dict[str, Any]
CRDS = {model.__name__: render(model) for model in KINDS}


def schema(kind: str) -> Object:
    return dict(CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"])


def fields(node: Object, path: str) -> Iterator[tuple[str, Object]]:
    """Every field below a node, with its schema."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(node.get(part), dict):
            yield from fields(node[part], f"{path}[]")


FIELDS = [(kind, path, node) for kind in CRDS for part in ("spec", "status") for path, node in fields(schema(kind)[part], part)]


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_is_explained(kind: str) -> None:
    assert not [path for other, path, node in FIELDS if other == kind and len(node.get("description", "")) < 10]


def test_no_word_that_yaml_takes_for_something_else() -> None:
    """kubectl reads Off, On, Yes and No as booleans."""
    words = {word for _, path, node in FIELDS for word in node.get("enum", ()) if not path.endswith("conditions[].status")}
    [(_, found)] = read_text("{apiVersion: v1, kind: X, words: [" + ", ".join(sorted(words)) + "]}")
    assert found["words"] == sorted(words)


def test_names_and_shapes() -> None:
    """camelCase; one type each, or a number or a word, and never another union; numbers of money say their unit."""
    for kind, path, node in FIELDS:
        assert re.fullmatch(r"[a-z][a-zA-Z0-9]*", path.rpartition(".")[2]), (kind, path)
        assert isinstance(node.get("type"), str) != bool(node.get("x-kubernetes-int-or-string")), (kind, path)
        assert not {"anyOf", "oneOf", "allOf", "$ref", "not"} & node.keys(), (kind, path)


def test_defaults_stand_in_the_schema_of_the_spec_and_none_in_that_of_the_status() -> None:
    for kind, path, node in FIELDS:
        assert "default" not in node or path.startswith("spec"), (kind, path)
    defaults = {f"{kind}.{path}": node["default"] for kind, path, node in FIELDS if "default" in node}
    assert defaults["InferencePool.spec.capacity.spot.returnAfter"] == "30m"
    assert defaults["BatchClass.spec.batching.window"] == "5ms"


@pytest.mark.parametrize(("kind", "short"), [("BatchClass", "fclass"), ("InferencePool", "fpool"), ("RoutingPolicy", "froute")])
def test_kinds_are_found_by_their_short_names_and_together(kind: str, short: str) -> None:
    names, [version] = CRDS[kind]["spec"]["names"], CRDS[kind]["spec"]["versions"]
    assert names["shortNames"] == [short] and names["categories"] == ["forebay"]
    assert version["subresources"]["status"] == {}
    assert ("scale" in version["subresources"]) == (kind == "InferencePool")
    conditions = schema(kind)["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map" and conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert version["additionalPrinterColumns"][-1]["name"] == "Age" or kind == "InferencePool"


@pytest.mark.parametrize("kind", CRDS)
def test_columns_show_fields_that_exist(kind: str) -> None:
    known = {f".{path}".replace("[]", "") for other, path, _ in FIELDS if other == kind} | {".metadata.creationTimestamp"}
    for column in CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        assert re.sub(r"\[.*?\]", "", column["jsonPath"]).replace(".status.status", ".status") in known, column
