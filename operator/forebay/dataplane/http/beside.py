"""Where a server listens besides the address it was given.

A pod's roles are given the pod's own address. `kubectl port-forward` comes from inside the pod instead, to 127.0.0.1, also where the pod
has an IPv6 address alone. And who listens on every IPv4 address is meant to be found on the IPv6 ones as well.
"""

from __future__ import annotations

import ipaddress

_OTHER_WILDCARD = {"0.0.0.0": "::", "::": "0.0.0.0"}  # noqa: S104 - what is listened on was decided by whoever gave the first


def beside(host: str) -> str:
    """The second address for one that is given; empty for loopback addresses, which are asked for on purpose, and for names."""
    try:
        given = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if given.is_unspecified:
        return _OTHER_WILDCARD[given.compressed]
    return "" if given.is_loopback else "127.0.0.1"
