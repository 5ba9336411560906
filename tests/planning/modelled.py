"""A cluster that does what a plan says: Deployments make their pods, nodes that were about to go are gone, and all else stands still."""

from __future__ import annotations

from tests.planning.strategies import going

from forebay.planning.decision import Plan
from forebay.planning.snapshot import DeploymentView, NodePoolView, NodeView, PodView, Snapshot


def carried_out(snapshot: Snapshot, decision: Plan) -> Snapshot:
    """The moment after: what was asked for is there and ready."""
    deployments = _deployments(snapshot, decision)
    lost = going(snapshot)
    nodes = {n.name: n for n in snapshot.nodes if n.name not in lost}
    pods: list[PodView] = []
    for deployment in deployments:
        kept = [_settled(p, snapshot) for p in snapshot.pods if p.variant == deployment.variant and not p.deleting and p.node in nodes]
        kept = sorted(kept, key=lambda p: not p.ready)[: deployment.replicas]
        host = f"{deployment.variant}-fresh"
        if len(kept) < deployment.replicas:
            nodes[host] = NodeView(name=host, capacity_type=deployment.capacity_type)
        pods += kept
        pods += [_new(deployment, host, i, snapshot) for i in range(deployment.replicas - len(kept))]
    named = {d.name: d.model_copy(update={"ready": d.replicas, "rolling": False}) for d in deployments}
    return snapshot.model_copy(
        update={
            "deployments": tuple(named[name] for name in sorted(named)),
            "pods": tuple(pods),
            "nodes": tuple(nodes[name] for name in sorted(nodes)),
            "node_pools": _node_pools(snapshot, decision),
            "memory": decision.memory,
        }
    )


def _settled(pod: PodView, snapshot: Snapshot) -> PodView:
    return pod.model_copy(update={"ready": True, "ready_at": pod.ready_at or snapshot.now, "routed": True})


def _new(deployment: DeploymentView, host: str, index: int, snapshot: Snapshot) -> PodView:
    return PodView(
        name=f"{deployment.name}-new-{index}", variant=deployment.variant, capacity_type=deployment.capacity_type, node=host, ready=True,
        created_at=snapshot.now - 20, ready_at=snapshot.now,
    )  # fmt: skip


def _deployments(snapshot: Snapshot, decision: Plan) -> list[DeploymentView]:
    found = {d.name: d for d in snapshot.deployments}
    for action in decision.actions:
        name, body = action.ref.name, action.body
        if action.ref.kind != "Deployment":
            continue
        if action.verb == "delete":
            del found[name]
        elif action.verb == "scale":
            found[name] = found[name].model_copy(update={"replicas": body["spec"]["replicas"]})
        else:
            labels, notes = body["metadata"]["labels"], body["metadata"]["annotations"]
            found[name] = DeploymentView(
                name=name, variant=labels["forebay.dev/variant"], capacity_type=labels["karpenter.sh/capacity-type"],
                accelerator=notes["forebay.dev/accelerator"], partition=notes["forebay.dev/partition"],
                template_hash=notes["forebay.dev/template-hash"], replicas=body["spec"]["replicas"],
            )  # fmt: skip
    return [found[name] for name in sorted(found)]


def _node_pools(snapshot: Snapshot, decision: Plan) -> tuple[NodePoolView, ...]:
    names = {p.name for p in snapshot.node_pools}
    for action in decision.actions:
        if action.ref.kind == "NodePool":
            names = names - {action.ref.name} if action.verb == "delete" else names | {action.ref.name}
    return tuple(NodePoolView(name=name) for name in sorted(names))
