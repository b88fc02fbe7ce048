"""The small words that every other module uses: instants, audio formats, phone numbers, ids.

There are three kinds of time here, and they must never be mixed:

* `Instant`: seconds on the monotonic clock of the process, always passed in, never read (`runtime/clock.py` reads it).
* `StreamMs`: milliseconds of audio since a media stream began; sample counts, not clocks.
* wall clock (plain `float`, Unix seconds): for people and files only; nothing is decided by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

Instant = NewType("Instant", float)
StreamMs = NewType("StreamMs", float)
CallId = NewType("CallId", str)

_E164: Final = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)


class Encoding(StrEnum):
    """How one audio sample is written."""

    MULAW = "mulaw"
    ALAW = "alaw"
    PCM16 = "pcm16"
    """Signed 16 bit, little-endian."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Encoding and rate of mono audio. Two ends with equal formats exchange bytes untouched."""

    encoding: Encoding
    sample_rate: int

    @property
    def bytes_per_sample(self) -> int:
        """2 for PCM16, 1 for G.711."""
        return 2 if self.encoding is Encoding.PCM16 else 1

    @property
    def bytes_per_ms(self) -> float:
        """Bytes that one millisecond takes."""
        return self.sample_rate * self.bytes_per_sample / 1000

    def ms(self, n_bytes: int) -> float:
        """Milliseconds that `n_bytes` last."""
        return n_bytes / self.bytes_per_ms

    def size(self, lasts_ms: float) -> int:
        """Bytes of `lasts_ms` milliseconds, rounded down to a whole sample."""
        samples = int(lasts_ms * self.sample_rate / 1000)
        return samples * self.bytes_per_sample

    @property
    def silence(self) -> bytes:
        """One sample of silence."""
        if self.encoding is Encoding.MULAW:
            return b"\xff"
        if self.encoding is Encoding.ALAW:
            return b"\xd5"
        return b"\x00\x00"


class DefaultInt(int):
    """A default that can be told from the same number when a program names it."""

    __slots__ = ()


class DefaultStr(str):
    """A default that can be told from the same text when a program names it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Spent:
    """What one provider was given to do, where several share the work of a call."""

    provider: str
    """Key of the price table."""
    model: str
    units: float
    """Seconds for a recogniser, characters for a voice."""


MULAW_8K: Final = AudioFormat(Encoding.MULAW, 8000)
ALAW_8K: Final = AudioFormat(Encoding.ALAW, 8000)
PCM16_8K: Final = AudioFormat(Encoding.PCM16, 8000)
PCM16_16K: Final = AudioFormat(Encoding.PCM16, 16000)
PCM16_24K: Final = AudioFormat(Encoding.PCM16, 24000)


def is_e164(number: str) -> bool:
    """True for a full international number such as `+15550001234` (ITU-T E.164)."""
    return _E164.fullmatch(number) is not None


def masked(number: str) -> str:
    """`***1234`: what a log or an error may show of a phone number or a caller's name."""
    digits = number[-4:] if len(number) > 6 else ""  # noqa: PLR2004 - shorter ones would show whole
    return f"***{digits}"


def shown_url(url: str) -> str:
    """A URL as a log, an error or a `repr` may show it: without user, password, and the values of its query."""
    head, mark, query = url.partition("?")
    scheme, slashes, rest = head.rpartition("//")
    place, slash, path = rest.partition("/")
    if "@" in place:
        place = "***@" + place.rpartition("@")[2]
    values = re.sub(r"=[^&#]*", "=***", query) if "=" in query else "***" * bool(query)
    return f"{scheme}{slashes}{place}{slash}{path}{mark}{values}"


@dataclass(frozen=True, slots=True, repr=False)
class PhoneNumber:
    """A caller's or callee's number as the carrier gave it; shows itself masked."""

    value: str
    """Full E.164, a SIP URI, or the carrier's word for a withheld number (`"anonymous"`)."""

    def __str__(self) -> str:
        return masked(self.value)

    def __repr__(self) -> str:
        return f"PhoneNumber({masked(self.value)})"
