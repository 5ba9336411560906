"""The replicas that requests can go to, and which of a pool's is the least loaded.

A sidecar tells its load about once a second; in between, what this gateway sent and got back is added, so that a burst between two polls
does not all land on the replica that was idle at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from os import urandom

from forebay.dataplane.gateway.config import Pool

_SCAN = 16
"""Replicas looked at for one choice. Beyond this many a run of neighbours from a moving start does as well, at a bounded cost."""


_PROMPT_BYTES = 1024
"""Prompts are compared in steps of about 250 tokens: of shorter ones several are as little to wait for as none."""


def _nobody_listens() -> None:
    pass


class Endpoint:
    """One sidecar. `since` is what this gateway has sent less what has ended, since the last report.

    `unbegun_bytes` are of bodies whose streams have not begun: prompts that wait or are being computed there. `freed` is called when it
    may take more than before.
    """

    __slots__ = ("draining", "freed", "healthy", "host", "limit", "missed", "name", "port", "reported", "since", "unbegun_bytes")

    def __init__(self, host: str, port: int, freed: Callable[[], None] = _nobody_listens) -> None:
        self.freed = freed
        self.host, self.port = host, port
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.reported = 0
        self.limit = 1
        self.since = 0
        self.unbegun_bytes = 0
        self.draining = False
        self.healthy = True
        self.missed = 0

    @property
    def load(self) -> float:
        """Requests queued and in flight, as a share of what the replica takes at once. Replicas of one pool need not be equal."""
        return max(0, self.reported + self.since) / self.limit

    @property
    def cost(self) -> tuple[int, float]:
        """What is compared between replicas. Prompts count first: all that is sent to a replica waits until they are computed.

        By requests in flight alone a replica that has just come would get every one, until it has as many as the others.
        """
        return self.unbegun_bytes // _PROMPT_BYTES, self.load

    @property
    def usable(self) -> bool:
        return self.healthy and not self.draining

    def told(self, queued: int, in_flight: int, limit: int, draining: bool) -> None:
        """What the sidecar says of itself."""
        self.reported, self.limit, self.draining = queued + in_flight, max(1, limit), draining
        self.since = 0
        self.healthy, self.missed = True, 0
        self.freed()

    def ended(self) -> None:
        """One that this gateway sent here is over."""
        self.since -= 1
        self.freed()

    def silent(self) -> None:
        """A poll was not answered. One may be a slow moment of the replica or of ours; two in a row are not."""
        self.missed += 1
        self.healthy = self.healthy and self.missed < 2


class Replicas:
    """One pool's endpoints. What is known of an endpoint outlives updates of the list. `freed` is called when they may take more."""

    __slots__ = ("_freed", "_turn", "endpoints", "synced")

    def __init__(self, freed: Callable[[], None] = _nobody_listens) -> None:
        self._freed = freed
        self.endpoints: tuple[Endpoint, ...] = ()
        self.synced = False
        # Gateways that start together must not all begin with the same replica.
        self._turn = int.from_bytes(urandom(2), "big")

    def update(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Replaces the list."""
        known = {(endpoint.host, endpoint.port): endpoint for endpoint in self.endpoints}
        self.endpoints = tuple(known.get(address) or Endpoint(*address, self._freed) for address in sorted(set(addresses)))
        self.synced = True
        self._freed()

    @property
    def reachable(self) -> bool:
        """Whether a replica is left that was not found dead; it may be one that drains."""
        return any(endpoint.healthy for endpoint in self.endpoints)

    def usable(self, tried: Collection[Endpoint]) -> bool:
        """Whether a healthy replica is left that takes new requests."""
        return any(endpoint.usable and endpoint not in tried for endpoint in self.endpoints)

    def pick(self, tried: Collection[Endpoint]) -> Endpoint | None:
        """The least loaded replica that was not tried yet; one that looks unwell only where there is no other, and a dead one last."""
        count = len(self.endpoints)
        if not count:
            return None
        self._turn += 1
        best: Endpoint | None = None
        least = 0, 0.0
        for offset in range(min(count, _SCAN)):
            endpoint = self.endpoints[(self._turn + offset) % count]
            if not endpoint.usable or endpoint in tried:
                continue
            cost = endpoint.cost
            if best is None or cost < least:
                best, least = endpoint, cost
        return best or self._any(tried)

    def _any(self, tried: Collection[Endpoint]) -> Endpoint | None:
        left = [endpoint for endpoint in self.endpoints if endpoint not in tried]
        return min(left, key=lambda endpoint: (not endpoint.usable, not endpoint.healthy, endpoint.cost), default=None)


_NONE = Replicas()


class Fleet:
    """Every pool's replicas, by the pool's key. `freed` is told the pool whose replicas may take more than before."""

    def __init__(self) -> None:
        self.pools: dict[str, Replicas] = {}
        self.freed: Callable[[str], None] = lambda key: None

    def keep(self, pools: Collection[str]) -> None:
        """Exactly these pools are known from now on."""
        self.pools = {key: self.pools.get(key) or Replicas(partial(self._tell, key)) for key in pools}

    def _tell(self, key: str) -> None:
        self.freed(key)

    def of(self, pool: Pool) -> Replicas:
        """The pool's replicas; none where the pool has left the configuration meanwhile."""
        return self.pools.get(pool.key) or _NONE

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for replicas in self.pools.values() for endpoint in replicas.endpoints]
