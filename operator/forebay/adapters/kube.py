"""The Kubernetes API over HTTP: the `Cluster` of real clusters, and the one place that imports the Kubernetes client.

Of the client only the configuration (in-cluster account, kubeconfig, TLS, token refresh) and the connection pool are used. Paths come
from `Kind`, bodies are plain dictionaries: the typed models cost time and memory, and their apply gives nothing back when it creates.

Every write names a field manager and asks for strict field validation, so that a misspelt field is an error and never a silent loss.
Nothing is retried here but watches; callers back off on `Unavailable`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import orjson
import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration

from forebay.adapters.cluster import (
    FIELD_MANAGER,
    PODS,
    ClusterError,
    Conflict,
    Event,
    Invalid,
    Kind,
    Labels,
    NotFound,
    Object,
    Unavailable,
    kind_of,
)
from forebay.adapters.kube_errors import error_for, is_budget
from forebay.adapters.kube_watch import Page, Source, watch
from forebay.runtime.errors import ForebayError

_PAGE = 500
_CONNECT_S = 10
_WATCH_S = 600

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class KubeCluster:
    """A `Cluster` behind a Kubernetes API server. Made by `connect`, ended by `close`.

    Args:
        timeout_s: longest time for one request.
        silence_s: longest silence of a watch, after which it is begun anew. Bookmarks come every minute.
    """

    def __init__(self, api: ApiClient, *, timeout_s: float = 30, silence_s: float = 120) -> None:
        self._api = api
        self._closed = False
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        self._watch_timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silence_s)

    @classmethod
    async def connect(cls, kubeconfig: str | Path | None = None, *, timeout_s: float = 30, silence_s: float = 120) -> KubeCluster:
        """Uses the kubeconfig given, else $KUBECONFIG, else the pod's service account, else ~/.kube/config. Sends nothing yet.

        Raises:
            ForebayError: none of them can be read.
        """
        settings = Configuration(host="https://localhost")
        path = str(kubeconfig or os.environ.get("KUBECONFIG") or "")
        try:
            if not path and "KUBERNETES_SERVICE_HOST" in os.environ:
                kube_config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            else:
                path = path or str(Path.home() / ".kube" / "config")
                if not any(Path(one).is_file() for one in path.split(os.pathsep)):
                    raise ForebayError(f"no way to reach a Kubernetes API: there is no kubeconfig {path}")
                load = kube_config.load_kube_config
                await load(config_file=path, client_configuration=settings, persist_config=False)  # type: ignore[no-untyped-call]
            if urlsplit(settings.host).scheme not in ("http", "https"):
                raise ForebayError(f"{path}: the cluster's server {settings.host!r} is not a URL such as https://10.0.0.1:6443")
            api = ApiClient(configuration=settings)
        except (kube_config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            why = "it is not a kubeconfig" if isinstance(error, TypeError | KeyError | AttributeError) else " ".join(str(error).split())
            raise ForebayError(f"no way to reach a Kubernetes API: {path or 'service account'}: {why}") from error
        api.user_agent = "forebay"
        return cls(api, timeout_s=timeout_s, silence_s=silence_s)

    async def close(self) -> None:
        """Closes all connections; every call and watch fails from then on."""
        self._closed = True
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        try:
            return await self._call("GET", _path(kind, namespace, name))
        except NotFound:
            return None

    async def list(self, kind: Kind, namespace: str | None = None, labels: Labels | None = None) -> list[Object]:
        return (await self._page(kind, namespace, labels)).items

    async def create(self, obj: Object) -> Object:
        kind = _kind_of(obj)
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._call("POST", _path(kind, obj.get("metadata", {}).get("namespace")), query, obj)

    async def apply(self, obj: Object, *, manager: str, subresource: str | None = None, force: bool = False) -> Object:
        kind, metadata = _kind_of(obj), obj.get("metadata", {})
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": "true" if force else "false"}
        path = _path(kind, metadata.get("namespace"), metadata.get("name"), subresource)
        return await self._call("PATCH", path, query, obj, _APPLY)

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Object, *, subresource: str | None = None, manager: str | None = None
    ) -> Object:
        query = {"fieldManager": manager or FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._call("PATCH", _path(kind, namespace, name, subresource), query, patch, _MERGE)

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str | None = None, grace_s: int | None = None) -> bool:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            await self._call("DELETE", _path(kind, namespace, name), body=options)
        except NotFound:
            return False
        except Conflict:
            if uid:
                return False
            raise
        return True

    async def evict(self, namespace: str, name: str) -> bool:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": namespace, "name": name}}
        try:
            await self._call("POST", _path(PODS, namespace, name, "eviction"), body=eviction)
        except NotFound:
            return True
        except Unavailable as error:
            if is_budget(error):
                return False
            raise
        return True

    def watch(self, kind: Kind, namespace: str | None = None, labels: Labels | None = None) -> AsyncIterator[Event]:
        source = Source(
            name=kind.plural,
            page=lambda: self._page(kind, namespace, labels),
            follow=lambda version: self._follow(kind, namespace, labels, version),
        )
        return watch(source)

    async def _page(self, kind: Kind, namespace: str | None, labels: Labels | None) -> Page:
        """All objects, fetched in pieces. `Unavailable` where the pieces expire under way: the caller asks again."""
        query = {"limit": str(_PAGE), **_selector(labels)}
        items: list[Object] = []
        while True:
            body = await self._call("GET", kind.path(namespace), query)
            items += ({"apiVersion": kind.api_version, "kind": kind.name, **item} for item in body.get("items") or ())
            if not (token := body["metadata"].get("continue")):
                return Page(items, body["metadata"]["resourceVersion"])
            query["continue"] = token

    async def _follow(self, kind: Kind, namespace: str | None, labels: Labels | None, version: str) -> AsyncIterator[Object]:
        """Raw events from a resourceVersion on, until the server ends the watch."""
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_S)}
        response = await self._send("GET", kind.path(namespace), {**query, **_selector(labels)}, timeout=self._watch_timeout)
        try:
            if response.status >= 300:
                raise error_for(response.status, await response.read())
            while line := await response.content.readline():
                yield orjson.loads(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(f"the watch broke off: {error or type(error).__name__}") from error
        finally:
            response.close()

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None, content: str = "application/json"
    ) -> Object:
        response = await self._send(method, path, query, body, content)
        try:
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        if response.status >= 300:
            raise error_for(response.status, data)
        try:
            answer: Object = orjson.loads(data)
        except ValueError:
            raise ClusterError(f"{method} {path}: the answer is not JSON; is this a Kubernetes API?", response.status) from None
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content, "User-Agent": self._api.user_agent}
        url = f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            await self._api.update_params_for_auth(headers, None, ["BearerToken"], path, method, body)
            request = self._api.rest_client.request
            answer = await request(method, url, headers=headers, body=body, _request_timeout=timeout or self._timeout)  # type: ignore[no-untyped-call]
        # RuntimeError and AssertionError are what the HTTP client makes of being closed under a request.
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError, AssertionError, kube_config.ConfigException) as error:
            if self._closed:
                raise ClusterError("the connection to the Kubernetes API was closed") from error
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        response: aiohttp.ClientResponse = answer.response
        return response


def _kind_of(obj: Object) -> Kind:
    try:
        return kind_of(obj)
    except KeyError:
        raise NotFound(f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"', 404) from None


def _path(kind: Kind, namespace: str | None, name: str | None = "", subresource: str | None = None) -> str:
    if kind.namespaced and not namespace:
        raise Invalid(f'{kind.name} "{name or ""}": metadata.namespace: Required value', 422)
    if name is None:
        raise Invalid(f"{kind.name}: metadata.name: Required value", 422)
    parts = [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join((kind.path(namespace), *parts))


def _selector(labels: Labels | None) -> dict[str, str]:
    return {"labelSelector": ",".join(f"{name}={value}" for name, value in labels.items())} if labels else {}
