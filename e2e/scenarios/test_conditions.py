"""What does not fit together is said in a condition and an Event, with what to do about it; and what must not be touched is not."""

from __future__ import annotations

import re
import time

from e2e import resources
from e2e.controlplane.client import Object
from e2e.forebay import Forebay
from e2e.waiting import eventually

POLICIES, CLASSES = "routingpolicies", "batchclasses"


def status(forebay: Forebay, type_: str, name: str = "chat", plural: str = "inferencepools") -> str:
    return str(forebay.condition(plural, type_, name).get("status", ""))


def test_unknown_class_is_named_until_it_exists(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-late"
    forebay.apply(resources.pool_without_nodes(forebay.namespace, classes=[batch_class]))
    message = forebay.says("ResolvedRefs", "UnknownClass")
    assert message == f"there is no BatchClass named {batch_class}: create it, or take it out of spec.classes"
    assert status(forebay, "ResolvedRefs") == "False" and status(forebay, "Ready") == "False"
    assert forebay.replicas() == []
    forebay.apply(resources.batch_class(batch_class))
    forebay.says("ResolvedRefs", "Resolved")
    eventually("a replica", lambda: len(forebay.replicas()) == 1)


def test_unknown_pool_and_class_of_a_policy(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-fast"
    forebay.apply(resources.keys(forebay.namespace), resources.policy(forebay.namespace, classify={"defaultClass": batch_class}))
    message = forebay.says("ResolvedRefs", "UnknownPool", "support", POLICIES)
    assert message == f"there is no InferencePool {forebay.namespace}/chat: create it, or change the route"
    forebay.apply(resources.pool_without_nodes(forebay.namespace, classes=[batch_class]))
    message = forebay.says("ResolvedRefs", "UnknownClass", "support", POLICIES)
    assert message == f"there is no BatchClass {batch_class}: create it, or change classify.defaultClass"
    forebay.apply(resources.batch_class(batch_class))
    forebay.says("ResolvedRefs", "Resolved", "support", POLICIES)


def test_model_belongs_to_the_oldest_policy(forebay: Forebay) -> None:
    forebay.apply(resources.keys(forebay.namespace), resources.policy(forebay.namespace, "older"))
    made = time.time()
    eventually("a later second, for creation is told in seconds", lambda: time.time() > made + 1)
    forebay.apply(resources.policy(forebay.namespace, "a-newer"))
    message = forebay.says("Accepted", "ModelClaimed", "a-newer", POLICIES)
    assert "model support-chat belongs to the older policy older on gateway default" in message
    assert status(forebay, "Accepted", "a-newer", POLICIES) == status(forebay, "Programmed", "a-newer", POLICIES) == "False"
    assert status(forebay, "Accepted", "older", POLICIES) == "True"
    forebay.kubectl("delete", "routingpolicy", "older")
    forebay.says("Accepted", "Accepted", "a-newer", POLICIES)


def test_class_that_no_pool_serves(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-idle"
    forebay.apply(resources.batch_class(batch_class))
    assert "name it in a pool's spec.classes" in forebay.says("ResolvedRefs", "NoPoolServes", batch_class, CLASSES)
    forebay.apply(resources.pool_without_nodes(forebay.namespace, classes=[batch_class]))
    assert forebay.says("ResolvedRefs", "Resolved", batch_class, CLASSES) == "1 pool serves this class"
    forebay.kubectl("delete", "fpool", "chat")
    forebay.says("ResolvedRefs", "NoPoolServes", batch_class, CLASSES)


def test_objective_that_cannot_be_met_names_what_can(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-eager"
    forebay.apply(
        resources.batch_class(batch_class, objectives=within("5ms")), resources.pool_without_nodes(forebay.namespace, classes=[batch_class])
    )
    message = forebay.says("SloFeasible", "ObjectiveBelowServiceTime")
    best = re.search(r" 5ms cannot be met: one idle h100/full replica needs (\S+) for 256 input and 128 output tokens\. ", message)
    assert best and f"Raise the target to {best[1]}, shorten requests, or add a faster accelerator" in message
    forebay.told("ObjectiveBelowServiceTime")
    forebay.apply(resources.batch_class(batch_class, objectives=within(best[1])))
    forebay.says("SloFeasible", "Feasible")


def within(target: str) -> Object:
    return {"timeToFirstToken": {"quantile": 0.95, "target": target}}


def test_recommend_touches_nothing(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-fast"
    scaling = {"minReplicas": 2, "maxReplicas": 6}
    forebay.apply(
        resources.batch_class(batch_class), resources.pool(forebay.namespace, classes=[batch_class], mode="Recommend", scaling=scaling)
    )
    assert "nothing is touched" in forebay.says("Paused", "RecommendOnly")
    assert forebay.told("RecommendedUp").startswith("0 → 2 replicas")
    forebay.operator.rounds(3)
    shown = forebay.status()
    assert shown["desired"] == {"onDemand": 0, "spot": 2, "warmStandby": 0, "partitions": {"full": 2}}
    assert shown["plan"]["summary"] == "would have 0 on-demand + 2 spot" and shown["rate"] == {"usdPerHour": "20.00"}
    assert written(forebay) == {"inferencepools/status"}
    assert forebay.node_pools() == {}


def written(forebay: Forebay) -> set[str]:
    """Resources of the namespace, Events aside, that the operator wrote."""
    references = [event["objectRef"] for event in forebay.operator.writes() if event["objectRef"].get("namespace") == forebay.namespace]
    resources_ = {"/".join(filter(None, (r["resource"], r.get("subresource")))) for r in references}
    return resources_ - {"events"}


def test_paused_holds_everything(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-fast"
    forebay.apply(resources.batch_class(batch_class), resources.pool_without_nodes(forebay.namespace, classes=[batch_class]))
    eventually("a replica", lambda: len(forebay.replicas()) == 1)
    forebay.patch(scaling={"paused": True, "minReplicas": 3})
    assert "everything is held as it is" in forebay.says("Paused", "Paused")
    forebay.operator.rounds(3)
    assert len(forebay.replicas()) == 1
    assert forebay.status()["plan"]["summary"] == "would have 0 on-demand + 3 spot"
    forebay.patch(scaling={"paused": False})
    eventually("what was planned is done", lambda: len(forebay.replicas()) == 3)


def test_limits_of_nodes_are_never_exceeded(forebay: Forebay) -> None:
    """Each replica takes a whole node of 8 GPUs."""
    batch_class = f"{forebay.namespace}-fast"
    pool = resources.pool(forebay.namespace, classes=[batch_class])
    pool["spec"]["profiles"][0]["gpus"] = 8
    pool["spec"]["capacity"]["nodes"]["limits"] = {"gpus": 16}
    forebay.apply(resources.batch_class(batch_class), pool)
    eventually("a replica", lambda: len(forebay.ready_replicas()) == 1)
    forebay.patch(scaling={"minReplicas": 3})
    message = forebay.says("BudgetRespected", "Limited")
    assert message == "3 replicas are wanted; limits (gpus 16) allow 2. Raise nodes.limits to gpus 24, or accept missed objectives"
    eventually("as many as may be", lambda: len(forebay.ready_replicas()) == 2)
    forebay.told("Limited")
    assert sum(forebay.gpu_bounds().values()) == 16
    forebay.operator.rounds(2)
    assert len(forebay.replicas()) == 2 and sum(forebay.gpu_bounds().values()) == 16


def test_limit_in_dollars_stops_growth_where_a_price_is_missing(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-fast"
    pool = resources.pool_without_nodes(forebay.namespace, classes=[batch_class])
    pool["spec"]["capacity"]["nodes"]["limits"] = {"usdPerHour": 100}
    del pool["spec"]["capacity"]["accelerators"][0]["usdPerHour"]
    forebay.apply(resources.batch_class(batch_class), pool)
    assert "set usdPerHour of h100" in forebay.says("BudgetRespected", "PriceUnknown")
    assert status(forebay, "BudgetRespected") == "Unknown" and forebay.replicas() == []
    forebay.told("PriceUnknown")


def test_template_that_kubernetes_refuses(forebay: Forebay) -> None:
    """The pool's schema cannot know every rule of a pod template; the API server does, and its words reach the user."""
    batch_class = f"{forebay.namespace}-fast"
    pool = resources.pool_without_nodes(forebay.namespace, classes=[batch_class])
    pool["spec"]["server"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Sometimes"
    forebay.apply(resources.batch_class(batch_class), pool)
    message = forebay.says("Accepted", "ApplyFailed")
    assert "Deployment" in message and "imagePullPolicy" in message and "Sometimes" in message
    assert status(forebay, "Accepted") == status(forebay, "Ready") == "False"
    forebay.told("ApplyFailed")
    forebay.apply(resources.pool_without_nodes(forebay.namespace, classes=[batch_class]))
    forebay.says("Accepted", "Accepted")
    eventually("a replica", lambda: len(forebay.replicas()) == 1)


def test_a_server_that_cannot_run_is_named(forebay: Forebay) -> None:
    """A pool said only that none of its replicas answers yet."""
    batch_class = f"{forebay.namespace}-broken"
    forebay.apply(
        resources.batch_class(batch_class),
        resources.pool(forebay.namespace, classes=[batch_class], server=server("registry.example/other:1")),
    )
    eventually("its image is named", lambda: "server waits: ErrImagePull" in why_not_ready(forebay))
    [replica] = forebay.replicas()
    assert why_not_ready(forebay).startswith(f"none of 1 replicas answers yet; {replica['metadata']['name']}: server waits: ErrImagePull: ")
    forebay.patch(server=server("registry.example/other:2", command=["false"]))
    eventually("its end is named", lambda: "server ended with exit code 1 and is started again" in why_not_ready(forebay))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": forebay.namespace}}
    forebay.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    forebay.kubectl("delete", "pods", "--all", "--wait=false")
    eventually("the quota is named", lambda: "is forbidden: exceeded quota: full" in why_not_ready(forebay))


def server(image: str, **container: object) -> Object:
    return {"template": {"spec": {"containers": [{"name": "server", "image": image, **container}]}}}


def why_not_ready(forebay: Forebay) -> str:
    return str(forebay.condition("inferencepools", "Ready", "chat").get("message", ""))
