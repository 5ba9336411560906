"""What the server itself fills into a built-in object belongs to nobody who applies it."""

from __future__ import annotations

from collections.abc import Callable

from tests.adapters.contract_objects import Check, a_deployment

from forebay.adapters.cluster import DEPLOYMENTS, Cluster


def test_a_replica_count_that_was_never_applied_stays(run: Callable[[Check], None]) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.apply(a_deployment(ns), manager="m")
        applied = await cluster.apply(a_deployment(ns), manager="m")
        assert applied["spec"]["replicas"] == 1
        await cluster.patch(DEPLOYMENTS, ns, "d", {"spec": {"replicas": 3}}, subresource="scale", manager="hpa")
        applied = await cluster.apply(a_deployment(ns, args=["x"]), manager="m")
        assert applied["spec"]["replicas"] == 3

    run(check)
