"""The loop, once: YAML in, a request through gateway and sidecar to a Karpenter-made spot node, and capacity by measurement."""

from __future__ import annotations

from e2e import resources
from e2e.forebay import Forebay, Load, send
from e2e.waiting import eventually


def test_measured_load_changes_the_replica_count(forebay: Forebay) -> None:
    """A replica takes a whole node of eight GPUs, so that NodePools must be given more room for each."""
    pool = resources.pool(forebay.namespace)
    pool["spec"]["profiles"][0]["gpus"] = 8
    forebay.apply(resources.batch_class("interactive"), resources.keys(forebay.namespace), pool, resources.policy(forebay.namespace))
    forebay.wait("inferencepool.forebay.dev/chat", timeout_s=90)
    forebay.wait("routingpolicy/support", "Programmed")
    replica = forebay.ready_replicas()[0]
    node = forebay.plane.api.get(f"/api/v1/nodes/{replica['spec']['nodeName']}") or {}
    assert node["metadata"]["labels"]["karpenter.sh/capacity-type"] == "spot"
    assert [c["name"] for c in replica["spec"]["initContainers"]] == ["forebay-sidecar"]

    gateway = forebay.gateway()
    assert send(gateway, 5) == "finished"
    assert send(gateway, 5, key="nobody's") == "refused 401"
    bounds = forebay.gpu_bounds()
    assert bounds["spot"] == 8, bounds
    with Load(gateway, rps=6, tokens=100) as load:
        eventually("more replicas", lambda: len(forebay.ready_replicas()) > 1, 90)
        why = " ".join(forebay.status()["plan"]["why"])
        assert "forebay_sidecar_arrivals_total" in why and "forebay_sidecar_tokens_total" in why
        assert forebay.gpu_bounds()["spot"] >= 16
    assert set(load.counts) == {"finished"}, load.counts
    eventually("down again", lambda: len(forebay.replicas()) == 1, 120)
    eventually("bounds as before", lambda: forebay.gpu_bounds() == bounds, 60)
