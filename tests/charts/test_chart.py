"""The Helm chart: what it renders, with which rights, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.charts.chart import CHART, NAMESPACE, ROOT, Object, Refused, named, pods, rendered, template

from forebay.api.crd import rendered_files
from forebay.api.shared_limits import read_shared_limits

VALUES = Path(__file__).parent / "values"
GOLDEN = Path(__file__).parent / "golden" / "default.yaml"
MONITORS = "monitoring.coreos.com/v1/PodMonitor"
FULL = ("--values", str(VALUES / "full.yaml"), "--api-versions", MONITORS)
LEAST = ("--values", str(VALUES / "least.yaml"))
CHOICES: dict[str, tuple[str, ...]] = {
    "default": (),
    "full": FULL,
    "least": LEAST,
    "standby": ("--set", "operator.replicas=3"),
    "tagged": ("--set", "image.tag=v2,serviceAccount.name=me"),
}
OLDEST = "1.29"


@pytest.fixture(params=CHOICES, scope="module")
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return rendered(*CHOICES[request.param])


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field(objects: list[Object], version: str) -> None:
    for obj in objects:
        if not obj["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(obj, version, strict=True)


def test_the_stated_oldest_kubernetes_is_the_tested_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    with pytest.raises(Refused, match="incompatible with Kubernetes"):
        template("--kube-version", "1.28.9")


def test_no_right_is_a_wildcard_and_secrets_are_nobodys(objects: list[Object]) -> None:
    for role in [o for o in objects if o["kind"] in ("Role", "ClusterRole")]:
        for rule in role["rules"]:
            said = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not [word for word in said if "*" in word]
            assert "secrets" not in rule["resources"] and not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_every_binding_names_a_role_and_an_account_of_the_chart() -> None:
    for arguments in ((), FULL):
        objects = rendered(*arguments)
        for binding in [o for o in objects if o["kind"].endswith("Binding")]:
            named(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"])
            (subject,) = binding["subjects"]
            assert named(objects, "ServiceAccount", subject["name"])["metadata"]["namespace"] == subject["namespace"] == NAMESPACE


def test_the_lease_is_written_in_the_own_namespace_only() -> None:
    roles = [o for o in rendered() if o["kind"] in ("Role", "ClusterRole")]
    with_leases = [r for r in roles if any("leases" in rule["resources"] for rule in r["rules"])]
    assert [(r["kind"], r["metadata"]["namespace"]) for r in with_leases] == [("Role", NAMESPACE)]


def test_containers_run_with_least_privilege(objects: list[Object]) -> None:
    assert pods(objects)
    for pod in pods(objects):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True and security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]} and "privileged" not in security
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "command" not in container


def test_names_and_selectors_fit_together(objects: list[Object]) -> None:
    for deployment in [o for o in objects if o["kind"] == "Deployment"]:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = [deployment["spec"]["selector"]]
        selectors += [o["spec"]["selector"] for o in objects if o["kind"] == "PodDisruptionBudget"]
        selectors += [o["spec"]["selector"] for o in objects if o["kind"] == "PodMonitor" and "namespaceSelector" not in o["spec"]]
        for selector in selectors:
            assert selector["matchLabels"].items() <= labels.items()
    jobs = [o for o in objects if o["kind"] == "Job"]
    assert all(o["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "uninstall" for o in jobs)


def test_the_operator_understands_its_arguments() -> None:
    import argparse

    from forebay.cli.operator import add_arguments

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for arguments in CHOICES.values():
        for pod in pods(rendered(*arguments)):
            (container,) = pod["spec"]["containers"]
            command, *rest = container["args"]
            assert command == "operator"
            assert parser.parse_args(rest).image == container["image"]


def test_the_lease_role_names_the_lease_that_the_operator_takes() -> None:
    from forebay.reconcile.run import LEASE_NAME

    objects = rendered()
    role = named(objects, "Role", "forebay-operator-lease")
    kept, made = role["rules"]
    assert kept["resourceNames"] == [LEASE_NAME] and kept["verbs"] == ["get", "patch"]
    assert made["resources"] == ["leases"] and made["verbs"] == ["create"], "Argo CD applies no Lease"
    assert named(objects, "Lease", LEASE_NAME)["spec"] == {}


def test_crds_are_those_of_the_models_and_are_kept() -> None:
    files = {path.name: path.read_text() for path in (CHART / "files" / "crds").iterdir()}
    assert files == {path.name: path.read_text() for path in (ROOT / "crds").iterdir()} == rendered_files()
    crds = [o for o in rendered() if o["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 3
    for crd in crds:
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert crd == yaml.safe_load(files[f"forebay.dev_{crd['spec']['names']['plural']}.yaml"])
    assert all("annotations" not in o["metadata"] for o in rendered(*FULL) if o["kind"] == "CustomResourceDefinition")


def test_who_may_view_or_edit_a_namespace_may_view_or_edit_its_pools() -> None:
    objects = rendered()
    view, edit = named(objects, "ClusterRole", "forebay-view"), named(objects, "ClusterRole", "forebay-edit")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert not any("batchclasses" in rule["resources"] for rule in edit["rules"])


def test_replicas_bring_a_budget_and_keep_apart() -> None:
    one, three = rendered(), rendered("--set", "operator.replicas=3")
    assert not [o for o in one if o["kind"] == "PodDisruptionBudget"] and "affinity" not in pods(one)[0]["spec"]
    assert [o["spec"]["minAvailable"] for o in three if o["kind"] == "PodDisruptionBudget"] == [1]
    assert "podAntiAffinity" in named(three, "Deployment", "forebay-operator")["spec"]["template"]["spec"]["affinity"]


def test_pod_monitors_come_only_where_they_are_wanted_and_known() -> None:
    def monitors(*arguments: str) -> list[str]:
        return [o["metadata"]["name"] for o in rendered(*arguments) if o["kind"] == "PodMonitor"]

    assert monitors() == monitors("--api-versions", MONITORS) == monitors("--set", "podMonitor.enabled=true") == []
    assert sorted(monitors(*FULL)) == ["fb-gateways", "fb-operator", "fb-sidecars"]


def test_node_pools_are_swept_after_the_operator_is_gone() -> None:
    """Before, a running operator would make them again; and by then its account is gone, so the sweep has its own."""
    hooks = [o for o in rendered() if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    assert {o["metadata"]["annotations"]["helm.sh/hook"] for o in hooks} == {"post-delete"}
    assert sorted(o["kind"] for o in hooks) == ["ClusterRole", "ClusterRoleBinding", "Job", "ServiceAccount"]
    weights = {o["kind"]: int(o["metadata"]["annotations"]["helm.sh/hook-weight"]) for o in hooks}
    assert weights["ServiceAccount"] < weights["Job"] and weights["ClusterRole"] < weights["ClusterRoleBinding"] < weights["Job"]


def test_an_operator_of_one_namespace_sweeps_that_one_when_it_is_uninstalled() -> None:
    """Another operator's NodePools, and the nodes of its pools, went with it."""
    (job,) = (o for o in rendered("--set", "operator.extraArgs={--namespace=team-a}") if o["kind"] == "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "--namespace=team-a"


def test_a_prometheus_that_asks_who_is_there_is_shown_the_keys_of_a_secret() -> None:
    (operator,) = (o for o in rendered("-f", str(VALUES / "full.yaml")) if o["kind"] == "Deployment")
    pod = operator["spec"]["template"]["spec"]
    container, volumes = pod["containers"][0], {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes["prometheus"] == {"name": "prometheus", "secret": {"secretName": "thanos"}}
    for argument in (f"--prometheus-token-file={mounts['prometheus']}/token", f"--prometheus-ca={mounts['prometheus']}/ca.crt"):
        assert argument in container["args"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("operator.replicas=many", "replicas"),
        ("operator.replicas=9", "replicas"),
        ("operator.interval=soon", "interval"),
        ("operator.logLevel=loud", "logLevel"),
        ("operator.prometheusUrl=prometheus:9090", "prometheusUrl"),
        ("operator.prometheusMatchers.namespace=a", "invalid propertyName 'namespace'"),
        ("operator.prometheusMatchers.cluster=", "cluster"),
        ("operator.prometheusMatchers=cluster", "prometheusMatchers"),
        ("operator.prometheusSecret.tokenKey=token", "tokenKey"),
        ("operator.sharedLimits[0].name=a", "sharedLimits"),
        ("operator.sharedLimits[0].gpu=8", "sharedLimits"),
        ("image.digest=latest", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("crds.keep=yes please", "keep"),
        ("replicaCount=2", "replicaCount"),
        ("operator.extraArgs=--debug", "extraArgs"),
        ("serviceAccount.create=false", "serviceAccount.name is needed"),
    ],
)
def test_wrong_values_are_refused(wrong: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        template("--set", wrong)


def test_shared_limits_of_one_name_are_refused_before_the_operator_does() -> None:
    """It was installed, and its operator ended with 64 over and over."""
    limits = [
        ("--set", f"operator.sharedLimits[{i}].name={name}", "--set", f"operator.sharedLimits[{i}].gpus=8") for i, name in enumerate("aba")
    ]
    assert template(*limits[0], *limits[1])
    with pytest.raises(Refused, match=r"operator\.sharedLimits: two limits are named a: give each a name of its own"):
        template(*(argument for limit in limits for argument in limit))


def test_every_value_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()

    def leaves(value: Any, depth: int) -> list[str]:
        return [k for k, v in value.items() if depth == 2 or not isinstance(v, dict) or not v] if isinstance(value, dict) else []

    values = yaml.safe_load("\n".join(lines))
    wanted = [k for k in values if not isinstance(values[k], dict) or not values[k]] + [k for v in values.values() for k in leaves(v, 2)]
    explained = [lines[i + 1].split(":")[0].strip() for i, line in enumerate(lines) if line.strip().startswith("# -- ")]
    assert sorted(explained) == sorted(wanted)


def test_the_default_rendering_is_the_golden_one() -> None:
    """After a wanted change: `FOREBAY_UPDATE_GOLDEN=1 pytest tests/charts`, and read the difference."""
    text = template("--set", "crds.install=false")
    # Releases of helm differ in blank lines.
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())
    if os.environ.get("FOREBAY_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_shared_limits_are_what_the_operator_reads() -> None:
    objects = rendered(*FULL)
    (held,) = (o for o in objects if o["kind"] == "ConfigMap" and "shared-limits.yaml" in o.get("data", {}))
    limits = read_shared_limits(held["data"]["shared-limits.yaml"])
    assert [str(limit) for limit in limits] == ["shared limit research (gpus 16, usdPerHour 60.5)", "shared limit all (gpus 64)"]
    (pod,) = (o["spec"]["template"] for o in objects if o["kind"] == "Deployment")
    (mount,) = (m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "shared-limits")
    assert f"--shared-limits={mount['mountPath']}/shared-limits.yaml" in pod["spec"]["containers"][0]["args"]
    (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "shared-limits")
    assert volume["configMap"]["name"] == held["metadata"]["name"]


def test_an_operator_is_started_anew_when_shared_limits_change() -> None:
    def pod(gpus: int) -> object:
        objects = rendered("--set", "operator.sharedLimits[0].name=a", "--set", f"operator.sharedLimits[0].gpus={gpus}")
        return next(o["spec"]["template"]["metadata"] for o in objects if o["kind"] == "Deployment")

    assert pod(8) != pod(9)
