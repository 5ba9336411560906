"""Reads and writes of the API that are too frequent for kubectl, whose start alone takes longer than most of them."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

Object = dict[str, Any]


class Refused(RuntimeError):
    """The API server refused; `status` is the HTTP code, the message its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Requests with one user's token. Not for load: each opens a connection.

    Attributes:
        server: the API server's URL.
    """

    def __init__(self, server: str, ca: Path, token: str) -> None:
        self.server, self._token = server, token
        self._context = ssl.create_default_context(cafile=str(ca))

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Client:
        """By a kubeconfig that `credentials.write_kubeconfig` wrote."""
        document = json.loads(path.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        return cls(cluster["server"], Path(cluster["certificate-authority"]), user["token"])

    def request(self, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> Object:
        """The answer as JSON.

        Raises:
            Refused: an answer that is not 2xx.
            OSError: no answer.
        """
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type, "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                result: Object = json.load(answer)
                return result
        except urllib.error.HTTPError as problem:
            raise Refused(_message(problem.read()), problem.code) from problem

    def get(self, path: str) -> Object | None:
        """The object at a path, None where there is none."""
        try:
            return self.request("GET", path)
        except Refused as problem:
            if problem.status == 404:
                return None
            raise

    def items(self, path: str) -> list[Object]:
        """The objects of a collection; none where its kind is not installed."""
        return (self.get(path) or {}).get("items") or []

    def patch(self, path: str, patch: Object) -> Object:
        """JSON merge patch."""
        return self.request("PATCH", path, patch, "application/merge-patch+json")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
