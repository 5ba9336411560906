"""A roll-out of a pool's template on nodes that nobody makes."""

from __future__ import annotations

from tests.reconcile.worlds import Lab, a_class, a_pool, in_lab

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object


def with_image(image: str) -> Object:
    return a_pool(server={"template": {"spec": {"containers": [{"name": "server", "image": image}]}}})


async def strategy(lab: Lab) -> Object:
    deployment = await lab.get(kinds.DEPLOYMENTS, "chat-h100-on-demand")
    return dict(deployment["spec"]["strategy"]["rollingUpdate"])


async def a_replica_without_a_node(lab: Lab) -> None:
    """What the Deployment controller and the scheduler make of a new template where every GPU is taken."""
    deployment = await lab.get(kinds.DEPLOYMENTS, "chat-h100-on-demand")
    template = deployment["spec"]["template"]
    meta = {"name": "new-0", "namespace": "default", "labels": template["metadata"]["labels"]}
    await lab.cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
    status = {"status": {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 1}}
    await lab.cluster.patch(kinds.DEPLOYMENTS, "default", "chat-h100-on-demand", status, subresource="status")


def test_a_roll_out_that_finds_no_room_yields_and_the_next_one_begins_anew() -> None:
    async def test(lab: Lab) -> None:
        await lab.apply(a_class(), with_image("engine:1"))
        async with lab.operator() as operator:
            await lab.run_pods()
            await operator.quiet()
            await lab.apply(with_image("engine:2"))
            await operator.quiet()
            await a_replica_without_a_node(lab)
            await operator.quiet()
            assert await strategy(lab) == {"maxSurge": "25%", "maxUnavailable": 0}
            for _ in range(3):
                await lab.clock.advance(30)
                await operator.again()
            assert await strategy(lab) == {"maxSurge": "25%", "maxUnavailable": 1}
            await lab.cluster.delete(kinds.PODS, "default", "new-0", grace_s=0)
            await lab.apply(with_image("engine:3"))
            await operator.quiet()
            assert await strategy(lab) == {"maxSurge": "25%", "maxUnavailable": 0}
            assert (await lab.condition("FieldConflict"))["status"] == "False"

    in_lab(test, karpenter=False)
