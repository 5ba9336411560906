"""Command lines of the control plane's parts, and the files they read. Each knows what its part needs to run alone on one machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from e2e.controlplane import netns
from e2e.controlplane.credentials import Credentials

API_PORT = 6443
SERVER = f"https://{netns.HOST_IP}:{API_PORT}"
FIRST_SERVICE_IP = "10.96.0.1"
"""The API server's own Service."""

ISSUER = "https://kubernetes.default.svc.cluster.local"

PROCESS_LABEL, PROCESS = "app.kubernetes.io/part-of", "forebay"
"""Pods with this label, which every pod of Forebay's has, run as real processes; KWOK leaves them alone."""

# What was written and by whom, without bodies; reads and leases would drown it.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "Request", "verbs": ["patch"], "resources": [{"group": "", "resources": ["nodes"]}]},
        {"level": "Metadata"},
    ],
}


def etcd(client: str, peer: str) -> list[str]:
    """etcd that does not wait for the disk: what a run wrote need not outlive a power cut."""
    urls = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"]
    return ["etcd", "--data-dir=etcd", *urls, "--unsafe-no-fsync", "--log-level=warn"]


def api_server(etcd_url: str, credentials: Credentials, folder: Path) -> list[str]:
    """API server with RBAC, real service account tokens, and an audit log of writes in `audit.log`."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(json.dumps(_AUDIT_POLICY))
    return [
        "kube-apiserver",
        f"--etcd-servers={etcd_url}",
        # Where there is no default route it finds no address of its own.
        f"--bind-address={netns.HOST_IP}",
        f"--advertise-address={netns.HOST_IP}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={credentials.server_certificate}",
        f"--tls-private-key-file={credentials.server_key}",
        f"--client-ca-file={credentials.ca}",
        f"--requestheader-client-ca-file={credentials.ca}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--token-auth-file={credentials.token_file}",
        f"--service-account-key-file={credentials.service_account_key}",
        f"--service-account-signing-key-file={credentials.service_account_key}",
        f"--service-account-issuer={ISSUER}",
        "--authorization-mode=Node,RBAC",
        f"--service-cluster-ip-range={netns.SERVICE_CIDR}",
        "--allow-privileged",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--profiling=false",
    ]


def _with_kubeconfig(name: str, user: str, credentials: Credentials, port: int) -> list[str]:
    kubeconfig = credentials.kubeconfig(user, SERVER)
    kubeconfigs = [f"--{flag}={kubeconfig}" for flag in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")]
    return [
        name,
        *kubeconfigs,
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={name}",
        "--profiling=false",
    ]


def controller_manager(credentials: Credentials, port: int) -> list[str]:
    """Controllers that each act as their own ServiceAccount, as in a real cluster."""
    return [
        *_with_kubeconfig("kube-controller-manager", "system:kube-controller-manager", credentials, port),
        f"--service-account-private-key-file={credentials.service_account_key}",
        f"--root-ca-file={credentials.ca}",
        "--use-service-account-credentials",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def scheduler(credentials: Credentials, port: int) -> list[str]:
    return [*_with_kubeconfig("kube-scheduler", "system:kube-scheduler", credentials, port), "--kube-api-qps=200", "--kube-api-burst=400"]


def kwok(credentials: Credentials, port: int, stages: Path, folder: Path) -> list[str]:
    """KWOK for the nodes that ask for it, with its own stages; those of pods pass over the pods that run as processes."""
    config = folder / "kwok-stages.yaml"
    documents = [document for path in sorted(stages.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text()) if document]
    config.write_text(yaml.safe_dump_all(_leaving_processes_out(document) for document in documents))
    return [
        "kwok",
        f"--kubeconfig={credentials.kubeconfig('kwok', SERVER)}",
        f"--config={config}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--node-lease-duration-seconds=40",
        f"--node-ip={netns.HOST_IP}",
        f"--server-address=127.0.0.1:{port}",
    ]


def _leaving_processes_out(stage: dict[str, Any]) -> dict[str, Any]:
    if stage["spec"]["resourceRef"]["kind"] == "Pod":
        rule = {"key": f'.metadata.labels["{PROCESS_LABEL}"]', "operator": "NotIn", "values": [PROCESS]}
        stage["spec"]["selector"].setdefault("matchExpressions", []).append(rule)
    return stage


def karpenter(credentials: Credentials, health_port: int, metrics_port: int, instance_types: Path) -> dict[str, str]:
    """Environment of Karpenter, which takes no flags here. It batches pods for half a second, so that scenarios are quick."""
    return {
        "KUBECONFIG": str(credentials.kubeconfig("karpenter", SERVER)),
        "SYSTEM_NAMESPACE": "kube-system",
        "INSTANCE_TYPES_FILE_PATH": str(instance_types),
        "DISABLE_LEADER_ELECTION": "true",
        "METRICS_PORT": str(metrics_port),
        "HEALTH_PROBE_PORT": str(health_port),
        "BATCH_IDLE_DURATION": "500ms",
        "FEATURE_GATES": "NodeOverlay=true,StaticCapacity=true,CapacityBuffer=true",
    }
