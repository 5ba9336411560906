"""What proves who is who: a certificate authority, the API server's certificate, the key of service account tokens, and users' tokens.

Nothing skips verification: pods get the authority's certificate with their token, as in any cluster.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

_EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]

USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "kwok": "system:masters",
    "karpenter": "system:masters",
}
"""Users of the control plane, and their group. The roles of the two `system:` users are the API server's own."""


class NoOpenssl(RuntimeError):
    """The openssl program is missing or failed."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files in one folder, and each user's token."""

    folder: Path
    tokens: dict[str, str]

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    @property
    def service_account_key(self) -> Path:
        return self.folder / "service-accounts.key"

    @property
    def token_file(self) -> Path:
        return self.folder / "tokens.csv"

    def kubeconfig(self, user: str, server: str) -> Path:
        """Writes a kubeconfig for one user of `USERS`."""
        return write_kubeconfig(self.folder / f"{user.replace(':', '-')}.kubeconfig", server, self.ca, self.tokens[user])


def make(folder: Path, addresses: list[str]) -> Credentials:
    """New credentials, with a server certificate for these addresses and the names that pods use.

    Raises:
        NoOpenssl: openssl 3 is not installed.
    """
    folder.mkdir(mode=0o700)
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    alternatives = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    _openssl(folder, "req", "-x509", *_EC, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=forebay-e2e")
    leaf = [
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        f"subjectAltName={alternatives}",
    ]
    _openssl(folder, "req", "-x509", *_EC, *leaf, "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=kube-apiserver")
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "service-accounts.key")
    credentials = Credentials(folder, {user: secrets.token_hex(16) for user in USERS})
    lines = [f'{token},{user},{user},"{USERS[user]}"' for user, token in credentials.tokens.items()]
    credentials.token_file.write_text("\n".join(lines) + "\n")
    return credentials


def write_kubeconfig(path: Path, server: str, ca: Path, token: str) -> Path:
    """A kubeconfig with a token. JSON is YAML too."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "e2e",
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "e2e", "user": {"token": token}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))
    return path


def _openssl(folder: Path, *arguments: str) -> None:
    try:
        answer = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError as problem:
        raise NoOpenssl("openssl is missing: install openssl 3") from problem
    if answer.returncode:
        raise NoOpenssl(f"openssl {arguments[0]} failed: {answer.stderr.strip()}")
