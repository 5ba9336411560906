"""Good and bad objects of our three kinds, and what the API server says of the bad ones."""

from __future__ import annotations

from typing import Any

from tests.adapters.contract_objects import a_class, a_policy, a_pool

from forebay.adapters.cluster import Object


def _objective(**fields: Any) -> Object:
    return a_class(tier="Interactive", objectives={"timeToFirstToken": fields})


def _profile(**fields: Any) -> Object:
    base = {"accelerator": "h100", "maxConcurrency": 8, "iteration": {"base": "7ms", "perToken": "1ms"}}
    return {name: value for name, value in {**base, **fields}.items() if value is not None}


def _sized(profile: Object, **accelerator: Any) -> Object:
    """A pool whose replica takes so much of a node, laid out where it takes partitions."""
    laid_out: Object = {"partitioning": {"mode": "Static", "layout": {"3g.40gb": 2}}} if "partition" in profile else {}
    return a_pool("", profiles=[_profile(**profile)], capacity={"accelerators": [{"name": "h100", **accelerator}]}, **laid_out)


def _profiled(*profiles: Object, **spec: Any) -> Object:
    return a_pool("", profiles=list(profiles), capacity={"accelerators": [{"name": "h100"}]}, **spec)


def _accelerator(**fields: Any) -> Object:
    return a_pool("", capacity={"accelerators": [{"name": "h100", **fields}]})


def _requirement(**fields: Any) -> Object:
    return _accelerator(requirements=[fields])


def _template(value: Any) -> Object:
    return a_pool("", server={"template": value})


def _rule(**fields: Any) -> Object:
    return a_policy("", rules=[{"name": "one", "route": [{"pool": "p"}], **fields}])


def _with(obj: Object, **fields: Any) -> Object:
    return {**obj, **fields}


def _metadata(**fields: Any) -> Object:
    obj = a_class(tier="Deferred")
    return {**obj, "metadata": {**obj["metadata"], **fields}}


DURATION = "must be a duration such as 250ms, 30s or 1h30m"
NODE_CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}

GOOD: dict[str, Object] = {
    "the least a class needs": a_class(tier="Deferred"),
    "a class with everything": a_class(
        tier="Interactive",
        priority=-1000,
        objectives={"endToEnd": {"quantile": 0.5, "target": "1h30m"}, "interTokenLatency": {"target": "60ms"}},
        batching={"mode": "Fixed", "maxBatchSize": 4096, "window": "1.5ms", "maxBatchTokens": 1},
        queue={"maxDepth": 0, "maxWait": "0s"},
        retry={"maxAttempts": 10},
        capacity={"maxSpotShare": 0},
    ),
    "a whole number written as a float": a_class(tier="Deferred", priority=1.0),
    "an integer where a number goes": _accelerator(usdPerHour={"spot": 3, "onDemand": 2.5}),
    "the least a pool needs": a_pool(""),
    "a template may hold anything": _template(
        {"metadata": {"labels": {"a": 5}}, "spec": {"nodeName": None, "containers": [{"name": "x", "foo": [1, {"b": None}]}]}}
    ),
    "a profile": _profiled(_profile()),
    "a replica as large as its node": _sized({"gpus": 8}, gpusPerNode=8),
    "as many partitions as a node has": _sized({"gpus": 4, "partition": "3g.40gb"}, gpusPerNode=2),
    "two profiles of one accelerator": _profiled(
        _profile(), _profile(partition="3g.40gb"), partitioning={"mode": "Static", "layout": {"3g.40gb": 2}}
    ),
    "a layout with media extensions": a_pool("", partitioning={"mode": "Static", "layout": {"1g.10gb+me": 1, "1g.10gb": 6}}),
    "requirements": a_pool(
        "",
        capacity={
            "accelerators": [
                {"name": "l4", "requirements": [{"key": "gpu", "operator": "Exists"}, {"key": "zone", "operator": "In", "values": ["a"]}]}
            ]
        },
    ),
    "Karpenter with its node class": a_pool("", capacity={"nodes": {"backend": "Karpenter", "nodeClassRef": NODE_CLASS}}),
    "policies by namespace label": a_pool("", allowedPolicies={"namespaces": {"from": "Selector", "matchLabels": {"team": "a"}}}),
    "as many replicas as the limit": a_pool("", scaling={"minReplicas": 10, "maxReplicas": 10}),
    "the least a policy needs": a_policy(""),
    "a policy with everything": a_policy(
        "",
        gateway={"name": "edge"},
        tenants=[{"name": "acme", "apiKeysFrom": {"secretRef": "keys"}}],
        rules=[
            {
                "name": "one",
                "match": {"model": {"in": ["m"]}, "tenant": {"in": ["acme"]}, "batchClass": {"in": ["a"]}},
                "route": [{"pool": "p", "namespace": "other", "weight": 0}, {"pool": "q"}],
                "cache": {"exact": {"mode": "Always", "ttl": "1m"}},
            }
        ],
        resilience={"retryBudget": 1, "timeouts": {"firstByte": "1s"}},
    ),
    "status is not looked at": _with(a_class(tier="Deferred"), status={"pools": -5}),
}

NULLS: dict[str, Object] = {
    "an object": a_class(tier="Deferred", objectives=None),
    "a map's value": a_pool("", partitioning={"mode": "Static", "layout": {"1g.10gb": 1, "2g.20gb": None}}),
    "what has a default": a_class(tier="Deferred", priority=None, queue=None),
}

BAD: dict[str, tuple[Object, str]] = {
    "no spec": ({name: part for name, part in a_class().items() if name != "spec"}, "spec: Required value"),
    "spec is text": (_with(a_class(), spec="x"), 'spec in body must be of type object: "string"'),
    "spec is null": (_with(a_class(), spec=None), "spec: Required value"),
    "no tier": (a_class(), "spec.tier: Required value"),
    "tier is null": (a_class(tier=None), "spec.tier: Required value"),
    "an unknown tier": (
        a_class(tier="Fast"),
        'spec.tier: Unsupported value: "Fast": supported values: "Interactive", "NearRealTime", "Deferred"',
    ),
    "tier is a number": (a_class(tier=5), 'spec.tier in body must be of type string: "integer"'),
    "tier is a boolean": (a_class(tier=True), 'spec.tier in body must be of type string: "boolean"'),
    "priority too high": (
        a_class(tier="Deferred", priority=1001),
        "spec.priority: Invalid value: 1001: spec.priority in body should be less than or equal to 1000",
    ),
    "priority with a fraction": (a_class(tier="Deferred", priority=1.5), 'spec.priority in body must be of type integer: "number"'),
    "priority is text": (a_class(tier="Deferred", priority="1"), 'spec.priority in body must be of type integer: "string"'),
    "priority is beyond 64 bits": (a_class(tier="Deferred", priority=1e30), 'spec.priority in body must be of type integer: "number"'),
    "queue is a list": (a_class(tier="Deferred", queue=[]), 'spec.queue in body must be of type object: "array"'),
    "an unknown field": (a_class(tier="Deferred", foo=1), 'unknown field "spec.foo"'),
    "an unknown field inside": (a_class(tier="Deferred", queue={"maxdepth": 1}), 'unknown field "spec.queue.maxdepth"'),
    "two unknown fields": (
        a_class(tier="Deferred", queue={"maxdepth": 1}, bar={}),
        'unknown field "spec.bar"',
    ),
    "an unknown field at the top": (_with(a_class(tier="Deferred"), foo=1), 'unknown field "foo"'),
    "an unknown field of metadata": (_metadata(foo=1), 'unknown field "metadata.foo"'),
    "an unknown field of an item": (_rule(match={"model": {"In": ["a"]}}), 'unknown field "spec.rules[0].match.model.In"'),
    "empty objectives": (a_class(tier="Deferred", objectives={}), "spec: Invalid value: objectives is empty: set timeToFirstToken"),
    "no objectives": (a_class(tier="Interactive"), "a class of tier Interactive or NearRealTime needs objectives"),
    "a bound and a rule": (a_class(tier="Interactive", priority=5000), "needs objectives, for they are what its replicas are sized for"),
    "a duration without a unit": (
        a_class(tier="Deferred", queue={"maxWait": "30"}),
        f'maxWait: Invalid value: "30": {DURATION}',
    ),
    "a duration with a space": (a_class(tier="Deferred", queue={"maxWait": "30 s"}), DURATION),
    "a duration in days": (
        a_pool("", scaling={"forecast": {"history": "14d"}}),
        f'spec.scaling.forecast.history: Invalid value: "14d": {DURATION}, of at most 9 digits a unit; days are written in hours',
    ),
    "a duration with a newline": (a_class(tier="Deferred", queue={"maxWait": "1s\n"}), DURATION),
    "an empty duration": (a_class(tier="Deferred", batching={"window": ""}), f'spec.batching.window: Invalid value: "": {DURATION}'),
    "a duration as a number": (
        a_class(tier="Deferred", queue={"maxWait": 30}),
        'maxWait in body must be of type string: "integer"',
    ),
    "a duration that goes on": (
        a_class(tier="Deferred", queue={"maxWait": "1s" * 17}),
        "spec.queue.maxWait: Too long: may not be more than 32 bytes",
    ),
    "a quantile of 1": (_objective(target="1s", quantile=1), "spec.objectives.timeToFirstToken.quantile in body should be less than 1"),
    "a quantile of 0.4": (_objective(target="1s", quantile=0.4), "quantile in body should be greater than or equal to 0.5"),
    "no target": (_objective(), "spec.objectives.timeToFirstToken.target: Required value"),
    "a bad name": (_metadata(name="A_b"), 'metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain'),
    "a long name": (_metadata(name="a" * 254), "must be no more than 253 characters"),
    "a bad label": (_metadata(labels={"a b": "c"}), 'metadata.labels: Invalid value: "a b": name part must consist of'),
    "a bad label value": (_metadata(labels={"a": "c d"}), "a valid label must be an empty string or consist of alphanumeric characters"),
    "a long label value": (_metadata(labels={"a": "c" * 64}), "must be no more than 63 bytes"),
    "a label that is a number": (_metadata(labels={"a": 5}), "labels"),
    "an annotation that is a number": (_metadata(annotations={"a": 5}), "annotations"),
    "no classes": (a_pool("", classes=[]), "spec.classes: Invalid value: 0: spec.classes in body should have at least 1 items"),
    "a class twice": (a_pool("", classes=["a", "a"]), 'spec.classes[1]: Duplicate value: "a"'),
    "a bad class": (a_pool("", classes=["A"]), 'spec.classes[0]: Invalid value: "A": spec.classes[0] in body should match'),
    "a class with a newline": (a_pool("", classes=["a\n"]), "spec.classes[0] in body should match"),
    "a class that is null": (a_pool("", classes=[None]), 'spec.classes[0] in body must be of type string: "null"'),
    "too many classes": (a_pool("", classes=[f"a{n}" for n in range(17)]), "spec.classes: Too many: 17: must have at most 16 items"),
    "more than the most": (
        a_pool("", scaling={"minReplicas": 5, "maxReplicas": 2}),
        "spec.scaling: Invalid value: minReplicas must",
    ),
    "more than the default most": (a_pool("", scaling={"minReplicas": 11}), "minReplicas must not exceed maxReplicas: lower the first"),
    "no template": (a_pool("", server={"port": 1}), "spec.server.template: Required value"),
    "no containers": (_template({}), "spec.server.template: Invalid value: server.template needs spec.containers with the model server's"),
    "empty containers": (_template({"spec": {"containers": []}}), "server.template needs spec.containers"),
    "null containers": (_template({"spec": {"containers": None}}), "server.template needs spec.containers"),
    "a container that is text": (
        _template({"spec": {"containers": ["x"]}}),
        'spec.server.template.spec.containers[0] in body must be of type object: "string"',
    ),
    "a port of 0": (
        a_pool("", server={"port": 0, "template": {"spec": {"containers": [{}]}}}),
        "server.port in body should be greater",
    ),
    "a profile of no accelerator": (a_pool("", profiles=[_profile()]), "every profile's accelerator must be the name of an entry in"),
    "a profile twice": (_profiled(_profile(), _profile()), 'spec.profiles[1]: Duplicate value: {"accelerator":"h100","partition":"full"}'),
    "a profile without its key": (_profiled(_profile(accelerator=None)), "spec.profiles[0].accelerator: Required value"),
    "a partition without partitioning": (
        _profiled(_profile(partition="3g.40gb")),
        "a profile with a MIG partition needs",
    ),
    "a partition that is not laid out": (
        _profiled(_profile(partition="3g.40gb"), partitioning={"mode": "Static", "layout": {"1g.10gb": 7}}),
        "a profile's partition must be in partitioning.layout",
    ),
    "a replica larger than its node": (_sized({"gpus": 2}), "a replica stands on one node, so a profile's gpus must not exceed its"),
    "more partitions than a node has": (
        _sized({"gpus": 5, "partition": "3g.40gb"}, gpusPerNode=2),
        "set gpusPerNode to what such a node has",
    ),
    "no MIG profile": (_profiled(_profile(partition="9g")), 'spec.profiles[0].partition: Invalid value: "9g"'),
    "a bad duration of an item": (
        _profiled(_profile(iteration={"base": "1", "perToken": "1ms"})),
        f'spec.profiles[0].iteration.base: Invalid value: "1": {DURATION}',
    ),
    "Static without layout": (a_pool("", partitioning={"mode": "Static"}), "mode Static needs layout, such as {3g.40gb: 2}"),
    "layout without Static": (a_pool("", partitioning={"layout": {"1g.10gb": 2}}), "layout has no effect with mode Disabled"),
    "a layout of no profile": (a_pool("", partitioning={"mode": "Static", "layout": {"x": 2}}), "layout names MIG profiles such as"),
    "a layout of a whole GPU": (a_pool("", partitioning={"mode": "Static", "layout": {"full": 1}}), "layout names MIG profiles such as"),
    "a layout beyond seven": (
        a_pool("", partitioning={"mode": "Static", "layout": {"1g.10gb": 8}}),
        "spec.partitioning.layout.1g.10gb: Invalid value: 8: spec.partitioning.layout.1g.10gb in body should be less than or equal to 7",
    ),
    "a layout in text": (a_pool("", partitioning={"mode": "Static", "layout": {"1g.10gb": "2"}}), 'must be of type integer: "string"'),
    "a layout of nine": (
        a_pool("", partitioning={"mode": "Static", "layout": {f"1g.{n}gb": 1 for n in range(9)}}),
        "spec.partitioning.layout: Too many: 9: must have at most 8 items",
    ),
    "In without values": (
        _requirement(key="a", operator="In"),
        "accelerators[0].requirements[0]: Invalid value: values goes with In",
    ),
    "Exists with values": (_requirement(key="a", operator="Exists", values=["b"]), "must be left out with Exists and DoesNotExist"),
    "a negative price": (
        _accelerator(usdPerHour={"spot": -0.1}),
        "usdPerHour.spot: Invalid value: -0.1: spec.capacity.accelerators[0].usdPerHour.spot in body should be greater than or equal to 0",
    ),
    "a price in text": (_accelerator(usdPerHour={"spot": "3"}), 'usdPerHour.spot in body must be of type number: "string"'),
    "Karpenter without its node class": (
        a_pool("", capacity={"nodes": {"backend": "Karpenter"}}),
        "spec.capacity.nodes: Invalid value: backend Karpenter needs nodeClassRef",
    ),
    "a selector of nothing": (a_pool("", allowedPolicies={"namespaces": {"from": "Selector"}}), "from Selector needs matchLabels"),
    "only weights of 0": (
        _rule(route=[{"pool": "p", "weight": 0}]),
        "spec.rules[0]: Invalid value: at least one route needs a weight",
    ),
    "a rule twice": (
        a_policy("", rules=[{"name": "r", "route": [{"pool": "p"}]}] * 2),
        'spec.rules[1]: Duplicate value: {"name":"r"}',
    ),
    "a match of nothing": (_rule(match={"model": {"in": []}}), "spec.rules[0].match.model.in in body should have at least 1 items"),
    "a model that is text": (a_policy("", models=["m"]), 'spec.models[0] in body must be of type object: "string"'),
    "no models": (a_policy("", models=[]), "spec.models in body should have at least 1 items"),
    "a retry budget above 1": (a_policy("", resilience={"retryBudget": 1.5}), "retryBudget in body should be less than or equal to 1"),
}
