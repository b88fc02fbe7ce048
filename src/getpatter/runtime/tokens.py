"""One-shot passwords that tell which call a media socket belongs to.

Anybody can open a socket to our server. Only the carrier was given the token of the call, in the answer to
a webhook whose signature was checked (or in the request that placed the call), so only the carrier can show
it. A token works once, for one call, for a short time, and only its hash is kept.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Literal

from getpatter.types import Instant

Direction = Literal["inbound", "outbound", "test"]
Entropy = Callable[[int], bytes]
"""So many unpredictable bytes: `secrets.token_bytes`, or a scripted one in tests."""

INBOUND_LIFE: Final = 60.0
"""Seconds between the answer to a voice webhook and the carrier's socket."""
_TOKEN_BYTES: Final = 32


def outbound_life(ring_timeout: int | None) -> float:
    """Seconds that the token of a placed call is good for: the phone may ring that long first."""
    return 660.0 if ring_timeout is None else ring_timeout + 60.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token stands for."""

    reference: str
    """Path part of the stream's URL."""
    carrier: str
    direction: Direction
    expires_at: Instant
    call_id: str | None = None
    """The carrier's id of the call; `None` while the call is being placed and has none yet."""


class StreamTokens:
    """All tokens that have been handed out and not used."""

    def __init__(self, entropy: Entropy) -> None:
        """`entropy` must be unpredictable outside of tests: `secrets.token_bytes`."""
        self._entropy = entropy
        self._grants: dict[bytes, Grant] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def mint(self, grant: Grant, *, now: Instant) -> str:
        """A fresh token for `grant`: 256 random bits, safe in a URL. Expired ones are forgotten here.

        Earlier tokens of the same reference stay good until one of them is spent: a repeated webhook may
        be answered twice, and nobody knows which answer the carrier acts on.
        """
        self.forget_expired(now)
        token = urlsafe_b64encode(self._entropy(_TOKEN_BYTES)).rstrip(b"=").decode()
        self._grants[_hashed(token)] = grant
        return token

    def look(self, token: str, *, reference: str, now: Instant) -> Grant | None:
        """What the token stands for, without spending it. `None`: unknown, expired or of another call."""
        grant = self._grants.get(_hashed(token))
        if grant is None or now >= grant.expires_at or not _same(grant.reference, reference):
            return None
        return grant

    def spend(
        self, token: str, *, reference: str, call_id: str, carrier: str, now: Instant
    ) -> Grant | None:
        """Use the token up. `None`, and the token stays, unless everything is as it was minted.

        A grant whose `call_id` is not known yet cannot be spent: `attach` it first.
        """
        grant = self.look(token, reference=reference, now=now)
        if grant is None or grant.call_id is None or grant.carrier != carrier:
            return None
        if not _same(grant.call_id, call_id):
            return None
        self.revoke(reference)
        return grant

    def attach(self, reference: str, call_id: str) -> None:
        """The carrier has given the placed call its id. An id that is known already is kept."""
        for key, grant in self._grants.items():
            if grant.reference == reference and grant.call_id is None:
                self._grants[key] = replace(grant, call_id=call_id)

    def revoke(self, reference: str) -> None:
        """Make every token of the reference worthless. Harmless when there is none."""
        for key in [key for key, grant in self._grants.items() if grant.reference == reference]:
            del self._grants[key]

    def forget_expired(self, now: Instant) -> None:
        """Free the memory of tokens that nobody came with."""
        for key in [key for key, grant in self._grants.items() if now >= grant.expires_at]:
            del self._grants[key]


def _hashed(token: str) -> bytes:
    # 256 random bits need no salt or slow hash. Finding the hash in a dict tells an attacker at most how
    # his guess's hash compares, which says nothing about the token.
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))
