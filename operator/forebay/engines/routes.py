"""From a request to the function that answers it, for both engines: a table, and the errors that a table can have."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.dataplane.http.errors import send_error
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.engines.openai import Refused


def routed(routes: Mapping[str, Mapping[str, Handler]]) -> Handler:
    """One handler of a table of path, then method."""

    async def handle(request: Request, response: Response) -> None:
        methods = routes.get(request.path)
        if methods is None:
            send_error(response, 404, f"there is nothing at {request.path[:200]}; this server has {', '.join(routes)}", code="not_found")
            return
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(methods)
            send_error(response, 405, f"{request.path} takes {allowed}", headers=[(b"allow", allowed.encode())])
            return
        try:
            await handler(request, response)
        except Refused as refused:
            refused.answer(response)

    return handle
