"""Which programs the control plane is made of, and at which version.

One Go module per tool stands in `modules/`, because their Kubernetes dependencies differ; its `go.mod` is the pin and its `go.sum`
the proof that what is built is what was pinned.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

MODULES = Path(__file__).parent / "modules"


@dataclass(frozen=True, slots=True)
class Program:
    """One executable: the Go package it is built from, and how it tells its version (None: it cannot, so it is only ever built)."""

    name: str
    package: str
    version_args: tuple[str, ...] | None = ("--version",)


@dataclass(frozen=True, slots=True)
class Tool:
    """One Go module of `modules/`. `flags` go to the linker; `manifests` are files of the module (globs) that running needs."""

    name: str
    module: str
    programs: tuple[Program, ...]
    flags: str = ""
    manifests: tuple[str, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    @property
    def version(self) -> str:
        """The pinned version without its `v`.

        Raises:
            ValueError: go.mod does not require the module.
        """
        match = re.search(rf"^(?:require\s+|\s+){re.escape(self.module)} v(\S+)", (self.folder / "go.mod").read_text(), re.M)
        if not match:
            raise ValueError(f"{self.folder / 'go.mod'} does not require {self.module}")
        return match[1]

    @property
    def linker_flags(self) -> str:
        major, minor, *_ = self.version.split(".")
        return " ".join(f"-s -w {self.flags.format(version=self.version, major=major, minor=minor)}".split())

    @property
    def key(self) -> str:
        """Changes with everything that changes what is built, so that a new pin rebuilds this tool and no other."""
        pins = [(self.folder / name).read_bytes() for name in ("go.mod", "go.sum")]
        words = [self.linker_flags, *(program.package for program in self.programs), *self.manifests]
        return hashlib.sha256(b"\0".join(pins + [word.encode() for word in words])).hexdigest()[:12]


# Without its version the API server calls itself v0.0.0, and Helm's kubeVersion checks refuse it.
_VERSIONED = (
    "-X k8s.io/component-base/version.gitVersion=v{version} -X k8s.io/component-base/version.gitMajor={major}"
    " -X k8s.io/component-base/version.gitMinor={minor} -X k8s.io/client-go/pkg/version.gitVersion=v{version}"
)

TOOLS = (
    Tool(
        "kubernetes",
        "k8s.io/kubernetes",
        (
            Program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Program("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            Program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Program("kubectl", "k8s.io/kubernetes/cmd/kubectl", ("version", "--client")),
        ),
        flags=_VERSIONED,
    ),
    Tool("etcd", "go.etcd.io/etcd/server/v3", (Program("etcd", "go.etcd.io/etcd/server/v3"),)),
    Tool(
        "kwok",
        "sigs.k8s.io/kwok",
        (Program("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
        manifests=(
            "kustomize/stage/node/fast/node-*.yaml",
            "kustomize/stage/node/heartbeat-with-lease/node-*.yaml",
            "kustomize/stage/pod/fast/pod-*.yaml",
        ),
    ),
    Tool(
        "karpenter",
        "sigs.k8s.io/karpenter",
        (Program("karpenter", "sigs.k8s.io/karpenter/kwok", None),),
        manifests=("pkg/apis/crds/*.yaml", "kwok/apis/crds/*.yaml"),
    ),
    Tool("helm", "helm.sh/helm/v4", (Program("helm", "helm.sh/helm/v4/cmd/helm", ("version", "--short")),)),
    Tool(
        "argocd",
        "github.com/argoproj/argo-cd/v2",
        (Program("argocd", "github.com/argoproj/argo-cd/v2/cmd", None),),
        manifests=("manifests/crds/application-crd.yaml", "manifests/crds/appproject-crd.yaml"),
        # One binary that takes its role from the name it is called by.
        aliases={"argocd-application-controller": "argocd", "argocd-repo-server": "argocd"},
    ),
)
