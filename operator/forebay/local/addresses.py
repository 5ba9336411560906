"""Where a pod's address comes from: each pod binds its own, so that ports need not differ.

On Linux all of 127.0.0.0/8 is the machine itself, without set-up: `loopback_addresses`.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.runtime.errors import ForebayError

_LOOPBACK = ipaddress.IPv4Network("127.64.0.0/10")
_BLOCK_PREFIX = 20
_BLOCKS_TRIED = 64
_CLAIM_PORT = 65535


class Addresses:
    """Addresses of a network that is local here, never used ones first, then the longest unused: late packets should not meet a new pod.

    The first address of the network is left to the machine.
    """

    def __init__(self, network: str) -> None:
        self.network = ipaddress.IPv4Network(network)
        self._fresh = self.network.hosts()
        self.machine = str(next(self._fresh))
        self._used: deque[str] = deque()

    def take(self) -> str:
        """An address that nobody else has. ForebayError where none is left."""
        for address in self._fresh:
            return str(address)
        if not self._used:
            raise ForebayError(f"no address is left in {self.network}")
        return self._used.popleft()

    def give_back(self, address: str) -> None:
        """The address is free again, for use after all others."""
        self._used.append(address)


@contextmanager
def loopback_addresses() -> Iterator[Addresses]:
    """4,093 addresses of 127.64.0.0/10 for this process alone: a socket on the first one of their block keeps others out.

    Raises:
        ForebayError: the system knows no loopback address but 127.0.0.1.
    """
    blocks = list(_LOOPBACK.subnets(new_prefix=_BLOCK_PREFIX))
    problem: OSError | None = None
    for block in random.sample(blocks, _BLOCKS_TRIED):
        addresses = Addresses(str(block))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claim:
            try:
                claim.bind((addresses.machine, _CLAIM_PORT))
            except OSError as error:
                problem = error
                continue
            yield addresses
            return
    raise ForebayError(
        f"no block of loopback addresses can be used ({problem}). Linux has them without set-up; elsewhere only 127.0.0.1 exists"
        " until others are added to the loopback interface by hand"
    )
