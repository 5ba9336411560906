"""Which headers a proxy passes on."""

from __future__ import annotations

from forebay.dataplane.http.message import Headers

DRAINING_HEADER = b"x-forebay-draining"
"""With a sidecar's 503: the replica is going and did nothing with the request."""

ROLE_HEADER = b"x-forebay-role"
"""Says `gateway` or `sidecar` in what these answer themselves: errors, lists of models. Who loads engines knows them by it."""

# RFC 9110 7.6.1, and those that the server and the client of this package write themselves.
_NOT_PASSED_ON = frozenset(
    [
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"expect", b"host", b"content-length", b"date", b"server"),
    ]
)


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that are meant for the other end, without those that belong to one connection."""
    kept = []
    listed: list[bytes] = []
    for name, value in headers:
        if name not in _NOT_PASSED_ON:
            kept.append((name, value))
        elif name == b"connection":
            listed += [word.strip().lower() for word in value.split(b",")]
    # `Connection: x-foo` makes x-foo a header of that connection; nearly always there is only close or keep-alive.
    return [pair for pair in kept if pair[0] not in listed] if listed else kept
