"""Which webhooks have been handled, so that a carrier's retry has no second effect."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from getpatter.types import Instant

_REMEMBER_SECONDS: Final = 600.0
_CAPACITY: Final = 10_000


class Deliveries:
    """Remembers the names of deliveries for ten minutes, and never more than `capacity` of them."""

    def __init__(
        self, *, remember_seconds: float = _REMEMBER_SECONDS, capacity: int = _CAPACITY
    ) -> None:
        self._remember_seconds = remember_seconds
        self._capacity = capacity
        self._seen: OrderedDict[bytes, Instant] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, delivery: str, *, now: Instant) -> bool:
        """Whether this delivery has not been seen; from now on it has. The oldest are forgotten first."""
        self._forget_old(now)
        key = _short(delivery)
        if key in self._seen:
            return False
        self._seen[key] = now
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return True

    def forget(self, delivery: str) -> None:
        """Its handling failed: the carrier's next attempt counts as the first."""
        self._seen.pop(_short(delivery), None)

    def _forget_old(self, now: Instant) -> None:
        while self._seen and now - next(iter(self._seen.values())) >= self._remember_seconds:
            self._seen.popitem(last=False)


def _short(delivery: str) -> bytes:
    # Names come from outside and may be long; what is kept of each is not.
    return blake2b(delivery.encode("utf-8", "surrogatepass"), digest_size=16).digest()
