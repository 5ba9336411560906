"""The kubelet stand-in: Forebay's own kubelet, on every node of the control plane, Karpenter's included.

Forebay's pods run as local processes, each on an address of its own, by the entry point that the Containerfile names, with tokens that
the API server issued for their service account. Connections to a Service's address go on to its ready pods, as through kube-proxy. KWOK
keeps the nodes alive and pretends to run all other pods. It is a process of its own, so that a scenario shares no interpreter with what
it measures; when it ends, all pods' processes end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from e2e.controlplane.client import Client
from e2e.controlplane.commands import FIRST_SERVICE_IP, PROCESS, PROCESS_LABEL
from e2e.controlplane.netns import POD_CIDR
from forebay.adapters.cluster import Object
from forebay.adapters.kube import KubeCluster
from forebay.local.addresses import Addresses
from forebay.local.container import Backoff
from forebay.local.environment import inherited
from forebay.local.kubelet import Kubelet
from forebay.local.pod_process import Host
from forebay.local.services import Services
from forebay.runtime import logs

ROOT = Path(__file__).parents[1]
KUBERNETES = (FIRST_SERVICE_IP, 443)
"""Where pods find the API server: the address of its own Service, as in any cluster."""

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

# A crash-looping pod is tried again in seconds, so that a scenario need not wait for minutes.
_BACKOFF = Backoff(first_s=1.0, most_s=5.0)


def entrypoint_of(containerfile: str) -> list[str]:
    """The program that an image starts: the last ENTRYPOINT, in its JSON form.

    Raises:
        ValueError: there is none.
    """
    found = re.findall(r"^ENTRYPOINT\s+(\[.*\])\s*$", containerfile, re.M)
    if not found:
        raise ValueError("the Containerfile has no ENTRYPOINT in JSON form")
    return [str(word) for word in json.loads(found[-1])]


class Images:
    """Which program an image starts: Forebay's own image is known, by its name, and no other.

    The program sees its service account's files in their usual place, as in a container: its volume is mounted there, in a mount
    namespace of its own. The kubelet replaces the path in the command by where the volume really is.
    """

    def __init__(self, entrypoint: Sequence[str]) -> None:
        # By way of the machine's root, which no mount of a pod stands for: a checkout may well lie under /tmp.
        script = f"/proc/self/root{ROOT}/e2e/pod_entry.sh"
        self._command = ["unshare", "-m", "sh", script, SERVICE_ACCOUNT, *entrypoint]

    def __call__(self, image: str) -> Sequence[str] | None:
        name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
        return self._command if name == "forebay" else None


class Tokens:
    """Tokens of pods' service accounts, bound to their pod, from the API server."""

    def __init__(self, api: Client) -> None:
        self._api = api

    async def __call__(self, pod: Object, audience: str, life_s: int) -> str:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName", "default")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {"expirationSeconds": life_s, "boundObjectRef": bound, "audiences": [audience] if audience else []}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        answer = await asyncio.to_thread(self._api.request, "POST", path, request)
        return str(answer["status"]["token"])


async def run(kubeconfig: Path, folder: Path, health_port: int) -> None:
    """Runs until SIGTERM. The health port listens while it does."""
    cluster = await KubeCluster.connect(kubeconfig)
    host = Host(
        cluster=cluster,
        addresses=Addresses(POD_CIDR),
        entrypoint=Images(entrypoint_of((ROOT / "Containerfile").read_text())),
        folder=folder,
        environment={**inherited(), "KUBERNETES_SERVICE_HOST": KUBERNETES[0], "KUBERNETES_SERVICE_PORT": str(KUBERNETES[1])},
        tokens=Tokens(Client.from_kubeconfig(kubeconfig)),
        backoff=_BACKOFF,
    )
    try:
        async with asyncio.TaskGroup() as group:
            services = Services(cluster)
            tasks = [group.create_task(services.run())]
            while KUBERNETES not in services.listening().values():
                await asyncio.sleep(0.02)
            tasks.append(group.create_task(Kubelet(host, pods={PROCESS_LABEL: PROCESS}).run()))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: [task.cancel() for task in tasks])
            await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", health_port)
    finally:
        await cluster.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Run Forebay's pods as local processes.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the administrator's kubeconfig")
    parser.add_argument("--folder", type=Path, required=True, help="where pods' volumes and logs are put")
    parser.add_argument("--health-port", type=int, required=True, help="port that listens while it works")
    arguments = parser.parse_args()
    logs.configure()
    asyncio.run(run(arguments.kubeconfig, arguments.folder, arguments.health_port))


if __name__ == "__main__":
    main()
