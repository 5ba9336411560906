"""Admission beyond parity: hints that only we give, what the CRDs may hold for it to be faithful, and agreement with the models."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.admission import is_ours, schema_for, validate, validate_status
from forebay.api.batch_class import BatchClass
from forebay.api.crd import KINDS
from forebay.api.inference_pool import InferencePool
from forebay.api.routing_policy import RoutingPolicy
from forebay.api.schema_check import check, type_of
from forebay.api.schema_rules import check_rules, matches

Object = dict[str, Any]


def an(kind: str, spec: Any, **metadata: Any) -> Object:
    return {"apiVersion": "forebay.dev/v1alpha1", "kind": kind, "metadata": {"name": "x", "namespace": "ns", **metadata}, "spec": spec}


def texts(obj: Object, strict: bool = True) -> list[str]:
    return [str(problem) for problem in validate(obj, strict)[1]]


MINIMAL: dict[str, Object] = {
    "BatchClass": {"tier": "Deferred"},
    "InferencePool": {"model": {"name": "m"}, "server": {"template": {"spec": {"containers": [{"name": "s"}]}}}, "classes": ["a"]},
    "RoutingPolicy": {"models": [{"name": "m"}], "classify": {"defaultClass": "a"}, "rules": [{"name": "r", "route": [{"pool": "p"}]}]},
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"tier": "Deferred", "queue": {"maxdepth": 1}}, 'unknown field "spec.queue.maxdepth"; did you mean "maxDepth"?'),
        ({"tier": "Deferred", "objectve": {}}, 'unknown field "spec.objectve"; did you mean "objectives"?'),
        ({"tier": "Deferred", "zzz": {}}, 'unknown field "spec.zzz"'),
        ({"tier": True}, "put quotes around it if text was meant"),
        ({}, "spec.tier: Required value: Interactive, NearRealTime or Deferred: which `service_tier` means this class."),
    ],
)
def test_a_refusal_says_how_to_mend_it(spec: Object, expected: str) -> None:
    [text] = texts(an("BatchClass", spec))
    assert text.endswith(expected)


def test_unknown_fields_are_dropped_where_they_are_not_refused() -> None:
    filled, problems = validate(an("BatchClass", {"tier": "Deferred", "foo": 1, "queue": {"bar": 2}}), strict_unknown=False)
    assert problems == []
    assert "foo" not in filled["spec"] and "bar" not in filled["spec"]["queue"]


def test_the_given_object_is_left_alone() -> None:
    obj = an("InferencePool", MINIMAL["InferencePool"], labels={"a": "b"})
    before = copy.deepcopy(obj)
    filled, _ = validate(obj, strict_unknown=True)
    filled["spec"]["server"]["template"]["spec"]["containers"][0]["name"] = filled["metadata"]["labels"]["a"] = "changed"
    filled["spec"]["scaling"]["maxReplicas"] = 99
    assert obj == before
    assert validate(obj, strict_unknown=True)[0]["spec"]["scaling"]["maxReplicas"] == 10


@pytest.mark.parametrize("model", [BatchClass, InferencePool, RoutingPolicy])
def test_defaults_are_those_of_the_model_and_filling_twice_changes_nothing(model: Any) -> None:
    obj = an(model.__name__, MINIMAL[model.__name__])
    filled, problems = validate(obj, strict_unknown=True)
    assert problems == []
    assert validate(filled, strict_unknown=True) == (filled, [])
    assert model.model_validate(filled).spec == model.model_validate(obj).spec


@pytest.mark.parametrize("model", [BatchClass, InferencePool, RoutingPolicy])
@pytest.mark.parametrize("status", [None, {"observedGeneration": 1}, {"observedGeneration": "x"}, {"odd": 1, "conditions": [{}]}, "x"])
def test_who_writes_the_status_alone_is_told_the_same(model: Any, status: Any) -> None:
    obj = validate(an(model.__name__, MINIMAL[model.__name__]), strict_unknown=True)[0] | {"status": status}
    for strict, drop in itertools.product((True, False), repeat=2):
        assert validate_status(obj, strict, drop_nulls=drop) == validate(obj, strict, drop_nulls=drop)
        assert list(validate_status(obj, strict, drop_nulls=drop)[0]) == list(validate(obj, strict, drop_nulls=drop)[0])


@pytest.mark.parametrize("kind", [model.__name__ for model in KINDS])
def test_no_rule_spans_spec_and_status(kind: str) -> None:
    """Else a status could be wrong by what the spec says, and a write to it would have to look at both."""
    assert "x-kubernetes-validations" not in schema_for(kind)


def test_only_our_kinds_are_ours() -> None:
    assert is_ours(an("BatchClass", {}))
    assert not is_ours({"apiVersion": "v1", "kind": "BatchClass"})
    assert not is_ours({"apiVersion": "forebay.dev/v1alpha1", "kind": "Nonsense"})


@pytest.mark.parametrize("metadata", [None, {}, [], "x", {"name": 5}, {"name": "x", "labels": [1]}, {"name": "x", "labels": {"a/b/c": ""}}])
def test_metadata_of_any_shape_is_refused_with_words(metadata: Any) -> None:
    found = texts({**an("BatchClass", {"tier": "Deferred"}), "metadata": metadata})
    assert found and all(text.startswith("metadata") for text in found)


def _nodes(schema: Object) -> list[Object]:
    children = [*schema.get("properties", {}).values(), *(schema[part] for part in ("items", "additionalProperties") if part in schema)]
    return [schema] + [node for child in children for node in _nodes(child)]


@pytest.mark.parametrize("kind", [model.__name__ for model in KINDS])
def test_the_crds_hold_only_what_admission_interprets(kind: str) -> None:
    """Whoever adds a keyword to a CRD must teach it to admission, or files would be taken here that a cluster refuses."""
    known = {
        *("type", "description", "default", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
        *("pattern", "minItems", "maxItems", "maxProperties", "required", "properties", "additionalProperties", "items", "format"),
        *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
        "x-kubernetes-int-or-string",
    }
    for node in _nodes(schema_for(kind)):
        assert set(node) <= known
        assert node.get("format", "date-time") == "date-time"
        for rule in node.get("x-kubernetes-validations", ()):
            assert set(rule) == {"rule", "message"}
            assert "oldSelf" not in rule["rule"]


@pytest.mark.parametrize(
    ("value", "good"), [(1, True), ("10%", True), ("100%", True), (0, False), ("0%", False), ("ten", False), (True, False)]
)
def test_a_number_or_a_percentage(value: Any, good: bool) -> None:
    schema = schema_for("InferencePool")["properties"]["spec"]["properties"]["scaling"]["properties"]["scaleDown"]
    assert (not check({"maxPerStep": value}, schema)) == good


def test_patterns_are_those_of_the_api_server() -> None:
    assert matches("abc", "^[a-z]+$")
    assert not matches("abc\n", "^[a-z]+$"), "Python's $ would let the newline pass"


def test_rules_see_numbers_and_names_as_declared() -> None:
    def broken(rule: str, value: Any, schema: Object) -> list[str]:
        return [str(p) for p in check_rules(value, {**schema, "x-kubernetes-validations": [{"rule": rule, "message": "no"}]}, "spec")]

    number = {"type": "object", "properties": {"share": {"type": "number"}, "namespace": {"type": "string"}, "a-b": {"type": "integer"}}}
    assert (
        broken("self.share < 0.5 && self.__namespace__ == 'x' && self.a__dash__b == 1", {"share": 0, "namespace": "x", "a-b": 1}, number)
        == []
    )
    assert broken("self.share > 0.5", {"share": 0}, number) == ["spec: Invalid value: no"]
    [error] = broken("self.share > 0.5", {}, number)
    assert "rule evaluation error" in error
    assert broken("self == 'a'", "b", {"type": "string"}) == ['spec: Invalid value: "b": no']


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "integer"),
        (1.0, "integer"),
        (1.5, "number"),
        (True, "boolean"),
        (2**63, "number"),
        (None, "null"),
        ("", "string"),
        ([], "array"),
    ],
)
def test_types_are_those_of_json(value: Any, expected: str) -> None:
    assert type_of(value) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "in", "route", "spec", "x", "0"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(MINIMAL)), st.data())
def test_no_object_does_more_than_be_refused(kind: str, data: st.DataObject) -> None:
    """One field of a good object is replaced by anything at all; what is then taken, the operator can read."""
    spec = copy.deepcopy(MINIMAL[kind])
    field = data.draw(st.sampled_from(sorted(schema_for(kind)["properties"]["spec"]["properties"])))
    spec[field] = data.draw(anything)
    filled, problems = validate(an(kind, spec), strict_unknown=True)
    assert all(str(problem).startswith("spec") for problem in problems)
    if not problems:
        model = next(model for model in KINDS if model.__name__ == kind)
        model.model_validate(filled)
