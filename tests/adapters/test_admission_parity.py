"""The same objects are taken and refused, with the same words, in memory and on a real API server."""

from __future__ import annotations

import json

import pytest
from tests.adapters.contract_objects import Run, a_condition, a_pool, status_of
from tests.adapters.parity_objects import BAD, GOOD, NULLS

from forebay.adapters.cluster import INFERENCE_POOLS, Cluster, Invalid, Object, kind_of
from forebay.api.admission import validate


def placed(obj: Object, namespace: str) -> Object:
    """The object in a namespace, if its kind has one."""
    if not kind_of(obj).namespaced:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_taken_with_the_same_defaults(run: Run, name: str) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        obj = placed(GOOD[name], ns)
        made = await cluster.create(obj)
        expected, problems = validate({part: value for part, value in obj.items() if part != "status"}, strict_unknown=True)
        assert problems == []
        assert made["spec"] == expected["spec"]
        await cluster.delete(kind_of(obj), ns, made["metadata"]["name"])
        applied = await cluster.apply(obj, manager="m")
        assert applied["spec"] == expected["spec"]

    run(check)


@pytest.mark.parametrize("name", NULLS)
def test_a_null_counts_as_absent_but_is_refused_when_applied(run: Run, name: str) -> None:
    """A null with a default is never refused. The difference is the API server's own."""

    async def check(cluster: Cluster, ns: str) -> None:
        obj = placed(NULLS[name], ns)
        made = await cluster.create(obj)
        assert "null" not in json.dumps(made["spec"])
        await cluster.delete(kind_of(obj), ns, made["metadata"]["name"])
        if name == "what has a default":
            assert (await cluster.apply(obj, manager="m"))["spec"] == made["spec"]
            return
        with pytest.raises(Invalid, match=r'in body must be of type .*: "null"'):
            await cluster.apply(obj, manager="m")

    run(check)


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_refused_with_the_same_hint(run: Run, name: str) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        obj, hint = BAD[name]
        with pytest.raises(Invalid) as refusal:
            await cluster.create(placed(obj, ns))
        assert hint in str(refusal.value)
        with pytest.raises(Invalid):
            await cluster.apply(placed(obj, ns), manager="m")

    run(check)


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ({"replicas": -1}, "replicas in body should be greater than or equal to 0"),
        ({"replicas": "1"}, 'replicas in body must be of type integer: "string"'),
        ({"replcas": 1}, "status.replcas"),
        ({"conditions": [a_condition("Ready", "Yes")]}, 'Unsupported value: "Yes": supported values: "True", "False", "Unknown"'),
        ({"conditions": [a_condition("Ready", reason="")]}, "reason in body should be at least 1 chars long"),
        ({"conditions": [a_condition("Ready", lastTransitionTime="now")]}, 'must be of type date-time: "now"'),
        ({"conditions": [{"type": "Ready"}]}, "status.conditions[0].status: Required value"),
        ({"conditions": [a_condition("Ready"), a_condition("Ready")]}, 'status.conditions[1]: Duplicate value: {"type":"Ready"}'),
    ],
)
def test_a_bad_status_is_refused(run: Run, status: Object, hint: str) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        pool = await cluster.create(a_pool(ns))
        with pytest.raises(Invalid) as refusal:
            await cluster.patch(INFERENCE_POOLS, ns, "p", {"status": status}, subresource="status")
        assert hint in str(refusal.value)
        with pytest.raises(Invalid):
            await cluster.apply(status_of(pool, **status), manager="m", subresource="status")

    run(check)
