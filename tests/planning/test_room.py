"""New replicas on existing nodes that wait for the GPUs the old ones hold: the old make room, one at a time."""

from __future__ import annotations

from typing import Any

from tests.planning.builders import NOW, a_deployment, a_node, a_pod, a_snapshot, a_spec, actions, desired, done, on_karpenter, settled

from forebay.local.rollout import Bounds, rolling_update
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import wanted_variants
from forebay.planning.workload import template_hash

TWO = {"minReplicas": 2, "maxReplicas": 4}


def rolling(waits_s: float, **fields: Any) -> Snapshot:
    """Two replicas of the old template, and one of the new that has no node yet."""
    spec = fields.pop("spec", None) or a_spec(scaling=TWO)
    variant = wanted_variants(spec, (spec.capacity.accelerators[0], spec.profiles[0]))[0]
    deployment = a_deployment(2, ready=2, rolling=True, template_hash=template_hash(spec, variant), **fields)
    old = tuple(a_pod(f"old-{i}", node="node-1") for i in range(2))
    new = a_pod("new-0", ready=False, created_at=NOW - waits_s)
    return a_snapshot(spec=spec, deployments=(deployment,), pods=(*old, new), nodes=(a_node(),), memory=settled(2))


def strategies(snapshot: Snapshot) -> list[Any]:
    return [a.body["spec"]["strategy"]["rollingUpdate"] for a in actions(plan(snapshot), "patch", "Deployment")]


def test_a_roll_out_without_a_free_gpu_does_not_wait_for_ever() -> None:
    """Existing nodes, all taken: a replica that must come up beside the old ones never would."""
    assert strategies(rolling(61)) == [{"maxUnavailable": 1}]
    assert strategies(rolling(30)) == [], "a node that has room takes it within moments"
    assert strategies(rolling(61, yields=True)) == [], "it was told already"


def test_clock_step_gives_nobody_up() -> None:
    """Set forward an hour, or not looked at for one, a replica of a moment ago has not waited for so long."""
    assert strategies(rolling(3605).model_copy(update={"memory": settled(2, looked_at=NOW - 3600)})) == []


def test_a_roll_out_waits_for_the_nodes_that_karpenter_makes() -> None:
    assert strategies(rolling(61, spec=a_spec(scaling=TWO, capacity=on_karpenter()))) == []


def test_one_old_replica_at_a_time_goes_once_a_roll_out_yields() -> None:
    def a_body(name: str, template: str, *, ready: bool) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": str(ready)}]
        return {
            "metadata": {"name": name, "labels": {"pod-template-hash": template}},
            "spec": {"nodeName": "node-1"} if ready else {},
            "status": {"phase": "Running", "conditions": conditions},
        }

    pods = [a_body("old-0", "old", ready=True), a_body("old-1", "old", ready=True), a_body("new-0", "new", ready=False)]
    assert rolling_update(2, Bounds(surge=1, unavailable=0), "new", pods).delete == ()
    assert len(rolling_update(2, Bounds(surge=1, unavailable=1), "new", pods).delete) == 1


def renamed(waits_s: float, *pods: Any, old: int = 2) -> Snapshot:
    """The pool's accelerator has another name now: two replicas of the old variant, two of the new without a node."""
    there = tuple(a_pod(f"old-{i}", accelerator="gpu", node="node-1") for i in range(old))
    new = pods or tuple(a_pod(f"new-{i}", ready=False, created_at=NOW - waits_s) for i in range(2))
    deployments = (a_deployment(old, accelerator="gpu", ready=old), a_deployment(2))
    return a_snapshot(spec=a_spec(scaling=TWO), deployments=deployments, pods=(*there, *new), nodes=(a_node(),), memory=settled(2))


def kept(snapshot: Snapshot) -> list[int]:
    return [a.body["spec"]["replicas"] for a in actions(plan(snapshot), "scale") if a.ref.name == "llama-gpu-on-demand"]


def test_replicas_of_another_variant_make_room_one_at_a_time() -> None:
    assert kept(renamed(30)) == [] and desired(plan(renamed(30))) == (2, 0)
    assert kept(renamed(61)) == [1]
    starting = (a_pod("new-0", ready=False, node="node-1"), a_pod("new-1", ready=False, created_at=NOW - 61))
    assert kept(renamed(61, *starting, old=1)) == [], "the next goes once its successor is ready"
    answers = (a_pod("new-0", node="node-1"), a_pod("new-1", ready=False, created_at=NOW - 61))
    assert ("delete", "Deployment", "llama-gpu-on-demand") in done(plan(renamed(61, *answers, old=1)))
