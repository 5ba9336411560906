"""What holds for every plan, whatever the pool and the moment."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.planning.builders import verdict
from tests.planning.modelled import carried_out
from tests.planning.strategies import snapshots, with_more_demand

from forebay.planning.decision import Plan
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

examples = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
few = settings(examples, max_examples=50)


@examples
@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan_byte_for_byte(snapshot: Snapshot) -> None:
    decided = plan(snapshot).model_dump_json(by_alias=True)
    assert plan(snapshot).model_dump_json(by_alias=True) == decided
    recorded = Snapshot.model_validate_json(snapshot.model_dump_json(by_alias=True))
    assert plan(recorded).model_dump_json(by_alias=True) == decided
    assert Plan.model_validate_json(decided).model_dump_json(by_alias=True) == decided


@examples
@given(snapshots(), st.sampled_from([1.01, 1.5, 10.0]))
def test_more_demand_never_means_less_capacity(snapshot: Snapshot, factor: float) -> None:
    less, more = plan(snapshot), plan(with_more_demand(snapshot, factor))
    # With those of another kind that stay because the wanted ones cannot be let in.
    kept = sum(v.desired for v in more.status.variants)
    # Where a limit cannot be checked what is there is kept; more may want another kind alone, of which the limit is known to allow none.
    unchecked = verdict(less, "BudgetRespected").reason == "PriceUnknown"
    assert unchecked or max(more.replicas, kept) >= less.replicas
    assert more.memory.target >= less.memory.target


@examples
@given(snapshots())
def test_bounds_always_hold(snapshot: Snapshot) -> None:
    decision, scaling = plan(snapshot), snapshot.spec.scaling
    begun = snapshot.memory.target or any(d.replicas for d in snapshot.deployments) or set(snapshot.spec.classes) & set(snapshot.classes)
    assert (scaling.min_replicas if begun else 0) <= decision.memory.target <= (scaling.max_replicas if begun else 0)
    assert 0 <= decision.replicas <= decision.memory.target
    desired, doubled = decision.status.desired, 2 * decision.replicas
    assert 0 <= desired.on_demand <= doubled and 0 <= desired.spot <= doubled
    assert len(decision.why) <= 64 and len(decision.notes) <= 16


def _gpus_of_deployments(snapshot: Snapshot) -> int:
    """GPUs that the replicas themselves ask for, whichever nodes carry them."""
    gpus = {p.accelerator: p.gpus for p in snapshot.spec.profiles}
    return sum(d.replicas * gpus.get(d.accelerator, 0) for d in snapshot.deployments)


@examples
@given(snapshots())
def test_replicas_never_take_more_gpus_than_the_limit(snapshot: Snapshot) -> None:
    limit, decision = snapshot.spec.capacity.nodes.limits.gpus, plan(snapshot)
    if limit is None or decision.dry or not snapshot.classes:
        return
    assert _gpus_of_deployments(carried_out(snapshot, decision)) <= limit


@examples
@given(snapshots())
def test_node_pools_never_grow_beyond_the_limit(snapshot: Snapshot) -> None:
    """What NodePools may still make, with the nodes that exist already, is within both limits."""
    capacity, decision = snapshot.spec.capacity, plan(snapshot)
    limits, listed = capacity.nodes.limits, {a.name: a for a in capacity.accelerators}
    have = Counter(n.labels["karpenter.sh/nodepool"] for n in snapshot.nodes if n.own)
    gpus = usd = grown = 0.0
    for action in decision.actions:
        if action.ref.kind != "NodePool" or action.verb != "apply":
            continue
        _, _, _, accelerator, capacity_type = action.ref.name.split(".")
        found, bound = listed[accelerator], action.body["spec"]["limits"]
        nodes = int(bound["nodes"]) if "nodes" in bound else int(bound["nvidia.com/gpu"]) // found.gpus_per_node
        more = max(0, nodes - have[action.ref.name])
        grown += more
        gpus += (more + have[action.ref.name]) * found.gpus_per_node if "nodes" not in bound else 0
        price = found.usd_per_hour.spot if capacity_type == "spot" else found.usd_per_hour.on_demand
        assert price is not None or limits.usd_per_hour is None or not more, "a price that is unknown lets nothing grow"
        usd += (more + have[action.ref.name]) * (price or 0.0)
    if grown and limits.gpus is not None:
        assert gpus <= limits.gpus
    if grown and limits.usd_per_hour is not None:
        assert usd <= limits.usd_per_hour


@examples
@given(snapshots())
def test_recommend_and_paused_never_act(snapshot: Snapshot) -> None:
    for spec in (
        snapshot.spec.model_copy(update={"mode": "Recommend"}),
        snapshot.spec.model_copy(update={"scaling": snapshot.spec.scaling.model_copy(update={"paused": True})}),
    ):
        decision = plan(snapshot.model_copy(update={"spec": spec}))
        assert decision.dry and decision.actions == ()


@examples
@given(snapshots())
def test_stale_measurements_shrink_nothing(snapshot: Snapshot) -> None:
    """Nothing that is there, that is: that a pool should sleep stays recommended. Gateways that are heard would know that nobody asks."""
    silent = snapshot.gateways and snapshot.gateways.model_copy(update={"answered": 0})
    blind = snapshot.model_copy(update={"demand": None, "gateways": silent})
    recommended = snapshot.spec.mode == "Recommend" and snapshot.memory.rest is not None and not snapshot.spec.scaling.min_replicas
    held = snapshot.memory.target or (0 if recommended else sum(d.replicas for d in snapshot.deployments))
    assert plan(blind).memory.target >= min(held, snapshot.spec.scaling.max_replicas)


@few
@given(snapshots())
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(snapshot: Snapshot) -> None:
    for _ in range(40):
        decision = plan(snapshot)
        moves = [a for a in decision.actions if a.verb != "apply" or a.ref.kind == "Deployment"]
        if not moves:
            break
        snapshot = carried_out(snapshot, decision)
    assert moves == []
    again = plan(snapshot.model_copy(update={"memory": decision.memory}))
    assert not [a for a in again.actions if a.verb != "apply" or a.ref.kind == "Deployment"]
    if decision.actions and verdict(decision, "BudgetRespected").reason == "WithinLimits":
        assert sum(d.replicas for d in snapshot.deployments) == decision.replicas
