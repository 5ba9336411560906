"""Where a pod's address comes from: each pod binds its own, so that ports need not differ.

`LoopbackAddresses` needs no set-up on Linux, where all of 127.0.0.0/8 is the machine itself. `InterfaceAddresses` puts addresses on an
interface first, inside a network namespace: a real API server refuses loopback addresses in EndpointSlices.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from forebay.runtime.errors import ForebayError

_BLOCKS = ipaddress.IPv4Network("127.64.0.0/10")
_BLOCK_PREFIX = 20
_CLAIM_PORT = 65535


class Addresses(Protocol):
    """Addresses that nobody else has."""

    async def take(self) -> str:
        """A free address. ForebayError where none is left or it cannot be set up."""

    async def give_back(self, address: str) -> None:
        """The address is free again, for use after all others."""


class _Free:
    """Addresses of a network, never used ones first, then the longest unused: late packets should not meet a new pod."""

    def __init__(self, network: ipaddress.IPv4Network) -> None:
        self._network = network
        self._fresh: Iterator[ipaddress.IPv4Address] = network.hosts()
        next(self._fresh)  # the first one stands for the machine
        self._used: deque[str] = deque()

    def take(self) -> str:
        for address in self._fresh:
            return str(address)
        if not self._used:
            raise ForebayError(f"no address is left in {self._network}")
        return self._used.popleft()

    def give_back(self, address: str) -> None:
        self._used.append(address)


class LoopbackAddresses:
    """4,093 addresses of 127.64.0.0/10 for this process alone: a socket on the first one of its block keeps others out.

    Raises:
        ForebayError: the system knows no loopback address but 127.0.0.1 (Linux knows them all).
    """

    def __init__(self) -> None:
        self._claim, network = _claim_block()
        self._free = _Free(network)
        self.machine = str(next(network.hosts()))

    async def take(self) -> str:
        return self._free.take()

    async def give_back(self, address: str) -> None:
        self._free.give_back(address)

    def close(self) -> None:
        self._claim.close()


def _claim_block() -> tuple[socket.socket, ipaddress.IPv4Network]:
    blocks = list(_BLOCKS.subnets(new_prefix=_BLOCK_PREFIX))
    random.shuffle(blocks)
    problem: OSError | None = None
    for block in blocks[:64]:
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((str(next(block.hosts())), _CLAIM_PORT))
        except OSError as error:
            problem = error
            claim.close()
        else:
            return claim, block
    raise ForebayError(
        f"no block of loopback addresses can be used ({problem}). Linux has them without set-up; elsewhere only 127.0.0.1 exists"
        " until others are added to the loopback interface by hand"
    )


def on_loopback(verb: str, address: str) -> Sequence[str]:
    """The command of iproute2 that adds or deletes an address of the loopback interface."""
    return ("ip", "addr", verb, f"{address}/32", "dev", "lo")


class InterfaceAddresses:
    """Addresses of `network`, put on an interface by a command; the first is left to the machine.

    Args:
        command: gives the command for ("add" | "del", address).
    """

    def __init__(self, network: str = "10.244.0.0/16", command: Callable[[str, str], Sequence[str]] = on_loopback) -> None:
        self._free = _Free(ipaddress.IPv4Network(network))
        self._command = command

    async def take(self) -> str:
        address = self._free.take()
        await self._run("add", address)
        return address

    async def give_back(self, address: str) -> None:
        await self._run("del", address)
        self._free.give_back(address)

    async def _run(self, verb: str, address: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command(verb, address), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise ForebayError(f"cannot {verb} address {address}: {output.decode(errors='replace').strip()}")
