"""How containers of Forebay's own image run, be they sidecars or gateways: as nobody, reading only, and listening on the pod's address."""

from __future__ import annotations

from typing import Any

USER = 65532
"""User and group of the image; see the Containerfile."""


def restricted() -> dict[str, Any]:
    """The security context of the Pod Security Standards' restricted profile, with a root file system that is only read."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def pod_ip() -> dict[str, Any]:
    """The environment variable POD_IP."""
    return {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
