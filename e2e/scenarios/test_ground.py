"""The ground that every other scenario stands on: CRDs, a Karpenter-made spot node, pods as processes, endpoints, tokens, replacement."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator

import pytest
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import NODE_CLASS, ControlPlane, KubectlFailed
from e2e.controlplane.commands import PROCESS, PROCESS_LABEL
from e2e.controlplane.instances import Outage
from e2e.controlplane.prometheus import Prometheus
from e2e.pods import Pods
from e2e.waiting import eventually

SIDECAR_PORT, SERVER_PORT = 9000, 8000
CAPACITY_TYPE, ZONE = "karpenter.sh/capacity-type", "topology.kubernetes.io/zone"


def file_server(port: int) -> list[str]:
    return ["python", "-u", "-m", "http.server", str(port), "--bind", "$(POD_IP)"]


def container(name: str, command: list[str], **more: object) -> Object:
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return {"name": name, "image": "example.invalid/python", "command": command, "env": [address], **more}


def deployment(namespace: str, node_pool: str) -> Object:
    """Two replicas, each with a native sidecar and one GPU of a spot node."""
    probe = {"httpGet": {"path": "/", "port": SIDECAR_PORT}, "periodSeconds": 1}
    sidecar = container("sidecar", file_server(SIDECAR_PORT), restartPolicy="Always", startupProbe=probe, readinessProbe=probe)
    ready = {"readinessProbe": {**probe, "httpGet": {"path": "/", "port": SERVER_PORT}}}
    server = container("server", file_server(SERVER_PORT), **ready, resources={"limits": {"nvidia.com/gpu": "1"}})
    selection = {CAPACITY_TYPE: "spot", "karpenter.sh/nodepool": node_pool}
    spec = {"nodeSelector": selection, "initContainers": [sidecar], "containers": [server], "terminationGracePeriodSeconds": 5}
    labels = {PROCESS_LABEL: PROCESS, "app": "m", "routed": "true"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": 2, "selector": {"matchLabels": {"app": "m"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m", "namespace": namespace}, "spec": body}


def service(namespace: str) -> Object:
    spec = {"clusterIP": "None", "selector": {"app": "m", "routed": "true"}, "ports": [{"name": "http", "port": SIDECAR_PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m", "namespace": namespace}, "spec": spec}


def node_pool(name: str) -> Object:
    requirements = [{"key": CAPACITY_TYPE, "operator": "In", "values": ["spot"]}]
    spec = {"template": {"spec": {"requirements": requirements, "nodeClassRef": NODE_CLASS, "expireAfter": "Never"}}}
    limits = {"limits": {"nvidia.com/gpu": "16"}, "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"}}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": {**spec, **limits}}


class Model:
    """The Deployment, its Service and its NodePool in one namespace."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self._plane, self.namespace = control_plane, namespace
        control_plane.apply(node_pool(namespace), deployment(namespace, namespace), service(namespace))

    def endpoints(self) -> list[str]:
        """Addresses that are ready."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3Dm"
        every = [endpoint for found in self._plane.api.items(path) for endpoint in found.get("endpoints") or []]
        return sorted(address for one in every if one["conditions"].get("ready") for address in one["addresses"])

    def ready(self, count: int) -> list[str]:
        return eventually(f"{count} endpoints", lambda: found if len(found := self.endpoints()) == count else [])

    def pods(self) -> list[Object]:
        return self._plane.api.items(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app%3Dm")

    def node_claims(self) -> list[str]:
        claims = self._plane.api.items(f"/apis/karpenter.sh/v1/nodeclaims?labelSelector=karpenter.sh/nodepool%3D{self.namespace}")
        return [claim["metadata"]["name"] for claim in claims]

    def node_labels(self) -> list[dict[str, str]]:
        nodes = self._plane.api.items(f"/api/v1/nodes?labelSelector=karpenter.sh/nodepool%3D{self.namespace}")
        return [node["metadata"]["labels"] for node in nodes]


@pytest.fixture
def model(control_plane: ControlPlane, pods: Pods, namespace: str) -> Iterator[Model]:
    yield Model(control_plane, namespace)
    control_plane.kubectl("delete", "deployment", "m", "-n", namespace, "--wait=false")
    control_plane.kubectl("delete", "nodepool", namespace, "--timeout=60s")


def answers(address: str, port: int) -> bool:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as answer:
        return bool(answer.status == 200)


def test_crds_are_served_and_explained(control_plane: ControlPlane, crds: None) -> None:
    def explained(kind: str) -> bool:
        try:
            return "DESCRIPTION" in control_plane.kubectl("explain", f"{kind}.spec")
        except KubectlFailed:
            return False  # the schema is published a moment after the kind is served

    for kind in ("inferencepool", "routingpolicy", "batchclass"):
        eventually(f"{kind} is explained", lambda kind=kind: explained(kind), 15)  # type: ignore[misc]
    served = control_plane.kubectl("api-resources", "--api-group=forebay.dev")
    assert all(short in served for short in ("fpool", "froute", "fclass"))


def test_pods_run_on_a_spot_node_and_are_replaced_with_it(control_plane: ControlPlane, pods: Pods, model: Model) -> None:
    addresses = model.ready(2)
    assert all(answers(address, port) for address in addresses for port in (SIDECAR_PORT, SERVER_PORT))
    assert {labels[CAPACITY_TYPE] for labels in model.node_labels()} == {"spot"}
    before = {pod["metadata"]["name"]: pods.processes(model.namespace, pod["metadata"]["name"]) for pod in model.pods()}
    assert [len(processes) for processes in before.values()] == [2, 2]

    control_plane.kubectl("delete", "nodeclaims", *model.node_claims(), "--wait=false")
    eventually("all replaced", lambda: not before.keys() & {pod["metadata"]["name"] for pod in model.pods()})
    assert all(answers(address, SIDECAR_PORT) for address in model.ready(2))
    gone = [pid for processes in before.values() for pid in processes]
    eventually("the old processes are gone", lambda: not [pid for pid in gone if os.path.exists(f"/proc/{pid}")], 10)


def test_label_of_the_service_alone_unroutes_and_the_process_lives(control_plane: ControlPlane, pods: Pods, model: Model) -> None:
    model.ready(2)
    first = model.pods()[0]
    name = first["metadata"]["name"]
    control_plane.kubectl("label", "pod", name, "-n", model.namespace, "routed-")
    assert first["status"]["podIP"] not in model.ready(1)
    assert answers(first["status"]["podIP"], SERVER_PORT) and len(pods.processes(model.namespace, name)) == 2
    control_plane.kubectl("label", "pod", name, "-n", model.namespace, "routed=true")
    model.ready(2)


def test_process_that_ends_is_started_again(pods: Pods, model: Model) -> None:
    model.ready(2)
    name = model.pods()[0]["metadata"]["name"]
    server = next(pid for pid, line in pods.processes(model.namespace, name).items() if str(SERVER_PORT) in line)
    os.kill(server, 9)

    def restarts() -> int:
        pod = next(pod for pod in model.pods() if pod["metadata"]["name"] == name)
        status = pod["status"]["containerStatuses"][0]
        return int(status["restartCount"]) if status["ready"] else 0

    assert eventually("restarted", restarts, 15) == 1
    assert eventually("a new process", lambda: [pid for pid in pods.processes(model.namespace, name) if pid != server])


def test_zone_without_spot_sends_nodes_to_the_other(control_plane: ControlPlane, model: Model) -> None:
    model.ready(2)
    lost = model.node_labels()[0][ZONE]
    control_plane.outage(Outage(capacity_type="spot", zone=lost))
    try:
        control_plane.kubectl("delete", "nodeclaims", *model.node_claims(), "--wait=false")
        assert eventually("a node in the other zone", lambda: {labels[ZONE] for labels in model.node_labels()} not in (set(), {lost}))
        model.ready(2)
    finally:
        control_plane.outage()


def test_pod_has_the_rights_of_its_service_account_and_no_more(control_plane: ControlPlane, pods: Pods, namespace: str) -> None:
    """Token, authority and address are where every client library looks for them; what is granted is what RBAC says."""
    script = (
        "import json, os, ssl, urllib.request as u; d = '/folder/';"
        "server = f\"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}\";"
        "context = ssl.create_default_context(cafile=d + 'ca.crt'); token = open(d + 'token').read();"
        "space = open(d + 'namespace').read();"
        "request = lambda what: u.Request(f'{server}/api/v1/namespaces/{space}/{what}', headers={'Authorization': 'Bearer ' + token});"
        "status = lambda what: u.urlopen(request(what), context=context).status;"
        "print('services', status('services'));"
        "print('pods', status('pods'))"
    ).replace("/folder/", "/var/run/secrets/kubernetes.io/serviceaccount/")
    control_plane.kubectl("create", "role", "reader", "--verb=list", "--resource=services", "-n", namespace)
    control_plane.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default", "-n", namespace)
    eventually("the service account", lambda: control_plane.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))
    spec = {"restartPolicy": "Never", "containers": [container("client", ["python", "-c", script])]}
    metadata = {"name": "client", "namespace": namespace, "labels": {PROCESS_LABEL: PROCESS}}
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    path = f"/api/v1/namespaces/{namespace}/pods/client"
    eventually("the pod has ended", lambda: (control_plane.api.get(path) or {})["status"]["phase"] == "Failed")
    words = pods.log(namespace, "client", "client")
    assert "services 200" in words and "HTTP Error 403" in words


def test_forebays_image_acts_as_its_service_account(control_plane: ControlPlane, pods: Pods, namespace: str) -> None:
    """The program behind the image's entry point finds the cluster that it runs in by itself, as in a container."""
    eventually("the service account", lambda: control_plane.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))
    one = {"name": "sweep", "image": "example.invalid/forebay:v1", "args": ["operator", "--image", "x", "--sweep-all"]}
    metadata = {"name": "sweep", "namespace": namespace, "labels": {PROCESS_LABEL: PROCESS}}
    spec = {"restartPolicy": "OnFailure", "containers": [one]}
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    user = f"system:serviceaccount:{namespace}:default"
    assert eventually("it is refused", lambda: user in pods.log(namespace, "sweep", "sweep"), 15)
    kinds = "nodepools.karpenter.sh,customresourcedefinitions.apiextensions.k8s.io"
    control_plane.kubectl("create", "clusterrole", namespace, "--verb=get,list,delete", f"--resource={kinds}")
    control_plane.kubectl("create", "clusterrolebinding", namespace, f"--clusterrole={namespace}", f"--user={user}")
    control_plane.kubectl("wait", "pod/sweep", "-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    control_plane.kubectl("delete", "clusterrole,clusterrolebinding", namespace)


def test_service_address_leads_to_ready_pods(control_plane: ControlPlane, model: Model) -> None:
    model.ready(2)
    spec = {"selector": {"app": "m"}, "ports": [{"name": "http", "port": 80, "targetPort": SIDECAR_PORT}]}
    control_plane.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front", "namespace": model.namespace}, "spec": spec})
    made = control_plane.api.get(f"/api/v1/namespaces/{model.namespace}/services/front") or {}

    def reached() -> bool:
        try:
            return answers(made["spec"]["clusterIP"], 80)
        except OSError:
            return False

    assert eventually("the Service answers", reached, 10)


def test_prometheus_finds_pods_by_itself(control_plane: ControlPlane, pods: Pods, prometheus: Prometheus, namespace: str) -> None:
    script = (
        "import os, time, prometheus_client as p;"
        "p.start_http_server(9400, addr=os.environ['POD_IP']); p.Gauge('e2e_gauge', 'x').set(7); time.sleep(600)"
    )
    eventually("the service account", lambda: control_plane.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))
    metadata = {"name": "measured", "namespace": namespace, "labels": {PROCESS_LABEL: PROCESS}}
    spec = {"containers": [container("c", ["python", "-c", script], ports=[{"containerPort": 9400}])], "terminationGracePeriodSeconds": 1}
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    rows = eventually("the series is there", lambda: prometheus.query(f'e2e_gauge{{namespace="{namespace}"}}'), 30)
    assert [(labels["pod"], value) for labels, value in rows] == [("measured", 7.0)]


def test_all_other_pods_are_kwoks(control_plane: ControlPlane, pods: Pods, namespace: str) -> None:
    spec = {"containers": [container("c", ["false"])]}
    eventually("the service account", lambda: control_plane.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"))
    control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other", "namespace": namespace}, "spec": spec})
    control_plane.kubectl("wait", "--for=condition=Ready", "pod/other", "-n", namespace, "--timeout=30s")
    assert pods.processes(namespace, "other") == {}


def test_api_server_comes_back_with_all_it_had(control_plane: ControlPlane, pods: Pods, model: Model) -> None:
    addresses = model.ready(2)
    control_plane.parts["kube-apiserver"].restart()
    assert all(answers(address, SIDECAR_PORT) for address in addresses)
    assert model.ready(2) == addresses


def test_writes_are_on_record(control_plane: ControlPlane, namespace: str) -> None:
    written = [event["objectRef"] for event in control_plane.audit("admin") if event["verb"] == "create"]
    assert any(reference["resource"] == "namespaces" and reference["name"] == namespace for reference in written)
    assert json.dumps(control_plane.audit("nobody")) == "[]"
