"""Deployments, Service and ConfigMap of a pool: what Forebay adds to the user's template, and when a template changes at all."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError
from tests.planning.builders import (
    H100,
    POOL,
    a_class,
    a_profile,
    a_snapshot,
    a_spec,
    actions,
    as_planned,
    on_karpenter,
    running,
    settled,
)

from forebay.planning.planner import plan
from forebay.planning.snapshot import PoolIdentity, Settings
from forebay.planning.variants import Variant, wanted_variants
from forebay.planning.workload import deployment_name, service_name, template_hash

USERS: dict[str, Any] = {
    "metadata": {"labels": {"team": "search", "forebay.dev/pool": "mine"}, "annotations": {"note": "kept"}},
    "spec": {
        "serviceAccountName": "reader",
        "terminationGracePeriodSeconds": 90,
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
                    ]
                }
            }
        },
        "initContainers": [{"name": "fetch", "image": "fetch:1"}],
        "containers": [
            {
                "name": "server",
                "image": "engine:1",
                "resources": {"limits": {"memory": "10Gi", "nvidia.com/gpu": "4"}, "requests": {"cpu": "2", "nvidia.com/gpu": "4"}},
            },
            {"name": "exporter", "image": "exporter:1", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
        ],
        "volumes": [{"name": "cache", "emptyDir": {}}],
    },
}


def made(spec: Any = None, **fields: Any) -> list[dict[str, Any]]:
    """The Deployments of a new pool."""
    return [a.body for a in actions(plan(a_snapshot(spec=spec or a_spec(), **fields)), "apply", "Deployment")]


def users_pod(**spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and spec of the pods that come of USERS."""
    template = made(a_spec(server={"template": copy.deepcopy(USERS)}, **spec))[0]["spec"]["template"]
    return template["metadata"], template["spec"]


def test_the_sidecar_comes_first_and_is_native() -> None:
    sidecar, fetch = users_pod()[1]["initContainers"]
    assert fetch == {"name": "fetch", "image": "fetch:1"}
    assert sidecar["name"] == "forebay-sidecar" and sidecar["restartPolicy"] == "Always" and sidecar["image"] == "forebay:1"
    assert sidecar["args"][:3] == ["sidecar", "--config", "/etc/forebay/sidecar.json"]
    assert sidecar["args"][sidecar["args"].index("--grace") + 1] == "85s", "less than the pod's own grace period"
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] and sidecar["securityContext"]["runAsNonRoot"]


def test_the_rest_of_the_users_template_is_kept() -> None:
    meta, pod = users_pod()
    assert meta["annotations"] == {"note": "kept"} and meta["labels"]["team"] == "search"
    for field in ("serviceAccountName", "terminationGracePeriodSeconds", "nodeSelector", "tolerations"):
        assert pod[field] == USERS["spec"][field], field
    assert pod["volumes"] == [
        {"name": "cache", "emptyDir": {}},
        {"name": "forebay-sidecar", "configMap": {"name": "llama-forebay-sidecar"}},
    ]
    assert [c["name"] for c in pod["containers"]] == ["server", "exporter"]
    assert pod["containers"][0]["image"] == "engine:1"


def test_the_users_own_template_is_not_changed() -> None:
    spec = a_spec(server={"template": copy.deepcopy(USERS)})
    made(spec)
    assert spec.server.template == USERS


def test_gpus_of_the_variant_replace_those_of_the_template() -> None:
    resources = users_pod(profiles=[a_profile(gpus=2)])[1]["containers"][0]["resources"]
    assert resources == {"limits": {"memory": "10Gi", "nvidia.com/gpu": "2"}, "requests": {"cpu": "2"}}


def test_a_server_on_the_cpu_gets_no_gpu() -> None:
    pod = made(a_spec(profiles=[a_profile(gpus=0)]))[0]["spec"]["template"]["spec"]
    assert "resources" not in pod["containers"][0]


@pytest.mark.parametrize(("partition", "resource"), [("3g.40gb", "nvidia.com/mig-3g.40gb"), ("1g.10gb+me", "nvidia.com/mig-1g.10gb.me")])
def test_partitions_are_asked_for_by_name(partition: str, resource: str) -> None:
    spec = a_spec(profiles=[a_profile(partition=partition)], partitioning={"mode": "Static", "layout": {partition: 1}})
    pod = made(spec)[0]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {resource: "1"}
    assert pod["nodeSelector"] == {"forebay.dev/pool": "default.llama"}, "only the pool's own nodes are partitioned for it"


def test_every_container_waits_for_the_drain_unless_it_has_a_hook_of_its_own() -> None:
    server, exporter = users_pod()[1]["containers"]
    hook = server["lifecycle"]["preStop"]["httpGet"]
    assert hook["port"] == 9400 and hook["path"].startswith("/drain?token=")
    assert exporter["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    sidecar = users_pod()[1]["initContainers"][0]
    assert hook["path"].partition("=")[2] == sidecar["args"][sidecar["args"].index("--drain-token") + 1]


def test_a_hook_in_the_place_of_the_drain_is_refused() -> None:
    """It was taken as it was: the server stopped before its sidecar, and every stream broke at each roll-out."""
    hooks = {"postStart": {"exec": {"command": ["warm"]}}, "preStop": {"sleep": {"seconds": 5}}}
    server: dict[str, Any] = {"name": "server", "lifecycle": hooks}
    with pytest.raises(ValidationError, match=r"containers\[0\].lifecycle.preStop must be left out"):
        a_spec(server={"template": {"spec": {"containers": [server]}}})
    del server["lifecycle"]["preStop"]
    lifecycle = made(a_spec(server={"template": {"spec": {"containers": [server]}}}))[0]["spec"]["template"]["spec"]["containers"][0]
    assert set(lifecycle["lifecycle"]) == {"postStart", "preStop"}


def test_labels_tell_pool_variant_and_routing() -> None:
    labels = users_pod()[0]["labels"]
    assert (
        labels["forebay.dev/pool"] == "llama"
        and labels["forebay.dev/variant"] == "h100-on-demand"
        and labels["forebay.dev/routed"] == "true"
    )
    deployment = made()[0]
    assert deployment["spec"]["selector"]["matchLabels"] == {"forebay.dev/pool": "llama", "forebay.dev/variant": "h100-on-demand"}
    service = actions(plan(a_snapshot()), "apply", "Service")[0].body
    assert service["spec"]["selector"] == {"forebay.dev/pool": "llama", "forebay.dev/routed": "true"}
    assert service["spec"]["clusterIP"] == "None"


def test_node_selection_joins_every_term() -> None:
    requirement = {"key": "gpu", "operator": "In", "values": ["h100"]}
    capacity = {"accelerators": [{**H100, "requirements": [requirement]}], "spot": {"enabled": True, "maxShare": 0}}
    terms = users_pod(capacity=capacity)[1]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    not_spot = {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]}
    assert [t["matchExpressions"][-2:] for t in terms] == [[requirement, not_spot]] * 2
    assert terms[0]["matchExpressions"][0]["key"] == "zone" and "matchFields" in terms[1]


def test_capacity_types_are_kept_apart() -> None:
    """On-demand is whatever is not spot, so that reserved nodes and nodes without the label serve too."""
    capacity = {"accelerators": [H100], "spot": {"enabled": True, "maxShare": 0.5}}
    both = made(a_spec(capacity=capacity, scaling={"minReplicas": 2, "maxReplicas": 4}))
    found = {}
    for deployment in both:
        pod = deployment["spec"]["template"]["spec"]
        terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        found[deployment["metadata"]["name"]] = terms[0]["matchExpressions"][0]["operator"]
    assert found == {"llama-h100-on-demand": "NotIn", "llama-h100-spot": "In"}


def test_children_go_with_their_pool() -> None:
    for action in actions(plan(a_snapshot()), "apply"):
        owner = action.body["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("InferencePool", "llama", "uid-1", True)


# when a template changes


def unchanged(**fields: Any) -> bool:
    """Whether a running pool keeps its template when it is planned with these fields."""
    snapshot = as_planned(a_snapshot(**running(1), memory=settled(1)))
    return not actions(plan(snapshot.model_copy(update=fields)), "apply", "Deployment")


def test_an_upgrade_of_the_operator_restarts_nothing() -> None:
    assert unchanged(settings=Settings(sidecar_image="forebay:2"))


def test_a_change_of_class_restarts_nothing() -> None:
    assert unchanged(classes={"interactive": a_class(priority=500, queue={"maxDepth": 1}, batching={"mode": "Fixed"})})
    assert unchanged(spec=a_spec(classes=["interactive", "batch"]), classes={"interactive": a_class(), "batch": a_class()})


@pytest.mark.parametrize(
    "spec",
    [
        {"scaling": {"minReplicas": 1, "maxReplicas": 99}},
        {"allowedPolicies": {"namespaces": {"from": "All"}}},
        {"capacity": {"accelerators": [{**H100, "usdPerHour": {"onDemand": 1}}], "nodes": {"limits": {"gpus": 64}}}},
        {"profiles": [a_profile(maxConcurrency=64)]},
        {"server": {"engine": "VLLM", "template": {"spec": {"containers": [{"name": "server", "image": "engine:1"}]}}}},
    ],
    ids=["scaling", "allowedPolicies", "prices", "profile", "engine"],
)
def test_what_is_not_in_the_template_restarts_nothing(spec: dict[str, Any]) -> None:
    assert unchanged(spec=a_spec(**spec))


def test_the_sidecars_image_moves_with_the_pools_own_rollout() -> None:
    snapshot = as_planned(a_snapshot(**running(1), memory=settled(1), settings=Settings(sidecar_image="forebay:2")))
    newer = a_spec(server={"template": {"spec": {"containers": [{"name": "server", "image": "engine:2"}]}}})
    rolled = actions(plan(snapshot.model_copy(update={"spec": newer})), "apply", "Deployment")[0].body
    pod = rolled["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "engine:2" and pod["initContainers"][0]["image"] == "forebay:2"
    assert rolled["metadata"]["annotations"]["forebay.dev/template-hash"] != snapshot.deployments[0].template_hash


def test_template_hashes_stay_what_they_are() -> None:
    """They stand on running Deployments: a hash that is computed otherwise would restart every GPU pod at the next upgrade."""
    variants = wanted_variants(a_spec(), (a_spec().capacity.accelerators[0], a_spec().profiles[0]))
    assert [template_hash(a_spec(), v) for v in variants] == ["84575023f02027de"]
    spec = a_spec(server={"template": USERS}, capacity=on_karpenter(spot={"enabled": True}))
    variants = wanted_variants(spec, (spec.capacity.accelerators[0], spec.profiles[0]))
    assert [template_hash(spec, v) for v in variants] == ["0bb1b064de6c50c7", "529cd64c6447e8cc"]


# bad templates and long names


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({}, "spec.containers needs the model server's container"),
        ({"spec": {"containers": []}}, "spec.containers needs the model server's container"),
        ({"spec": {"containers": ["x"]}}, r"spec.containers\[0\] must be an object, not 'x'"),
        ({"spec": {"containers": [{}], "volumes": {}}}, "spec.volumes must be a list"),
        ({"spec": {"containers": [{"resources": {"limits": []}}]}}, r"spec.containers\[0\].resources.limits must be an object"),
        ({"spec": {"containers": [{}], "terminationGracePeriodSeconds": "30"}}, "terminationGracePeriodSeconds must be a whole number"),
        ({"spec": {"containers": [{}], "terminationGracePeriodSeconds": True}}, "terminationGracePeriodSeconds must be a whole number"),
        ({"metadata": {"labels": "x"}, "spec": {"containers": [{}]}}, "metadata.labels must be an object"),
    ],
)
def test_templates_that_cannot_be_built_on_are_refused(template: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        a_spec(server={"template": template})


def test_nulls_in_a_template_mean_absent() -> None:
    """As Helm writes a value that is not set."""
    pod = {
        "containers": [{"name": "server", "resources": None, "lifecycle": None}],
        "volumes": None,
        "affinity": None,
        "nodeSelector": None,
    }
    spec = a_spec(server={"template": {"metadata": None, "spec": {**pod, "terminationGracePeriodSeconds": None}}})
    assert spec.server.template == {"spec": {"containers": [{"name": "server"}]}}
    assert made(spec)


def test_long_names_stay_valid_and_apart() -> None:
    capacity = {"accelerators": [{"name": "a" * 63}], "spot": {"enabled": True, "maxShare": 0.5}}
    spec = a_spec(profiles=[a_profile("a" * 63)], capacity=capacity, scaling={"minReplicas": 2, "maxReplicas": 2})
    pool = PoolIdentity(namespace="n" * 63, name="p" * 63, uid="u")
    decision = plan(a_snapshot(spec=spec, pool=pool))
    deployments = actions(decision, "apply", "Deployment")
    assert len({a.ref.name for a in deployments}) == 2
    for action in decision.actions:
        assert len(action.ref.name) <= 63 and action.ref.name[-1].isalnum()
        template = action.body.get("spec", {}).get("template", {}).get("metadata", {})
        for labels in (action.body["metadata"]["labels"], template.get("labels", {})):
            assert all(len(value) <= 63 for value in labels.values())


def test_names_that_depend_on_the_pool_alone() -> None:
    assert service_name("llama") == "llama-forebay"
    assert len(service_name("p" * 63)) == 63
    assert deployment_name(POOL.name, Variant("spot")) == "llama-spot"
