"""Names that follow a request: its id, and its place in a W3C trace."""

from __future__ import annotations

import os
import re

_VISIBLE = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NOTHING = (b"0" * 32, b"0" * 16)


def request_id(given: bytes | None) -> bytes:
    """The client's id when it is 1 to 128 visible characters, else a new one."""
    if given is not None and _VISIBLE.fullmatch(given):
        return given
    return b"req-" + os.urandom(12).hex().encode()


def traceparent(given: bytes | None) -> tuple[bytes, bool]:
    """The header to send on, with a new parent id, and whether it continues the client's trace.

    The sampled flag is kept; a trace that begins here is not sampled, for nobody asked.
    """
    parent = os.urandom(8).hex().encode()
    match = _TRACEPARENT.fullmatch(given) if given is not None else None
    if match is None or match[1] == b"ff" or match[2] == _NOTHING[0] or match[3] == _NOTHING[1] or (match[1] == b"00" and match[5]):
        return b"00-" + os.urandom(16).hex().encode() + b"-" + parent + b"-00", False
    return b"00-" + match[2] + b"-" + parent + (b"-01" if int(match[4], 16) & 1 else b"-00"), True
