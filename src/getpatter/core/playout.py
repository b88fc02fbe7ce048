"""What the caller has heard, what to send next, and where the marks go.

The carrier plays what we send at the speed of sound, one millisecond a millisecond, behind a delay that we
cannot see. Three things are known: how much was sent, which marks came back (and when), and that time
passes. So the position of the caller's ear lies

```
   0 ......... anchor ......... ear ......... next mark not yet back ......... sent
               last mark that returned        (the ear cannot be past it)
```

and moves from the anchor at the speed of sound. Marks win over the clock in both directions: one that comes
back moves the ear forward to its place, one that stays out holds the ear before it, for `MARK_GRACE_MS` at
most (a carrier that lost it must not stop the call).

Sending follows the ear: the first piece leaves at once, whatever its size; after it, pieces of `CHUNK_MS`
keep the carrier `LEAD_MS` ahead of the ear. That is enough for a busy event loop to make no gap, and little
enough that memory and a carrier's limits never matter. `clear` drops it all in any case.

A call with a sound in its background (`Bed`) has no pauses: what is said is mixed with it as it leaves, and where
nothing is said it leaves alone, `BED_LEAD_MS` ahead at most, because speech that begins has to wait behind it. It
takes its place on the stream and nothing else: it sets no marks, and whether the agent is silent does not depend
on it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import Final, Protocol

from getpatter.types import AudioFormat, Instant

LEAD_MS: Final = 400.0
"""Audio kept at the carrier ahead of the ear; CV-5 allows 1 s."""
CHUNK_MS: Final = 100.0
"""Size of the pieces after the first. Five times fewer frames than 20 ms ones; see benchmarks/calls.py."""
LOW_MS: Final = 120.0
"""Below this lead, less than a whole chunk is sent rather than waiting for more."""
MARK_EVERY_MS: Final = 500.0
MARK_GRACE_MS: Final = 1500.0
BED_LEAD_MS: Final = 100.0
"""Background kept at the carrier while nothing is said: how much later speech may begin for it."""
BED_CHUNK_MS: Final = 40.0
_BED_LOW_MS: Final = BED_LEAD_MS - BED_CHUNK_MS
_ROUNDING_MS: Final = 0.001
"""Instants are floats: a deadline that was computed from a position misses it by less than this."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Bytes to send now, in the carrier's format."""

    data: bytes
    is_speech: bool = True
    """False for key tones, and for background on its own."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark to set after what was sent so far."""

    name: str


Outgoing = Audio | Mark


class Bed(Protocol):
    """A sound that goes on under everything, in the format of the stream."""

    def under(self, voice: bytes) -> bytes:
        """`voice` with the next stretch of the sound; as long as `voice`."""
        ...

    def alone(self, size: int) -> bytes:
        """The next stretch of the sound, `size` bytes; empty when it is over."""
        ...

    def in_format(self, stream: AudioFormat) -> Bed:
        """The same sound from the same place, for another stream."""
        ...


@dataclass(slots=True)
class Span:
    """One spoken piece on the stream: which text lies between which positions."""

    piece: int
    starts_ms: float
    ends_ms: float
    is_complete: bool = False
    """All audio of the piece has been sent or is queued."""


@dataclass(slots=True)
class _OutMark:
    name: str
    at_ms: float
    due: Instant


@dataclass(slots=True)
class Playout:
    """The agent's side of one media stream. Positions are milliseconds of agent audio since its start."""

    format: AudioFormat
    prefix: str = "p"
    """First letters of our marks' names."""
    can_pause: bool = False
    """Keep what the carrier has and the caller has not heard, so that `pause` can take it back."""
    bed: Bed | None = None
    """What is heard in the background."""
    is_listened_to: bool = True
    """Whether anybody is there to hear it."""
    spans: list[Span] = field(default_factory=list)
    _queue: deque[bytes] = field(default_factory=deque)
    _queued: int = 0
    _keys: bytes = b""
    _keys_end_ms: float = 0.0
    _sent_ms: float = 0.0
    _said_ms: float = 0.0  # where the last speech or tone that was sent ends
    _flow_ms: float = 0.0
    _flow_at: Instant = Instant(0.0)
    _anchor_ms: float = 0.0
    _anchor_at: Instant = Instant(0.0)
    _heard_ms: float = 0.0
    _marks: deque[_OutMark] = field(default_factory=deque)
    _dropped: set[str] = field(default_factory=set)
    _marked_ms: float = 0.0
    _names: int = 0
    _kept: deque[bytes] = field(default_factory=deque)
    _kept_bytes: int = 0
    _is_paused: bool = False

    def restart(self, audio_format: AudioFormat) -> None:
        """Stand at the beginning of another stream; what belonged to the one before is forgotten."""
        fresh = Playout(audio_format, self.prefix)
        fresh.bed = None if self.bed is None else self.bed.in_format(audio_format)
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))

    # --------------------------------------------------------------------------------------- filling

    def begin(self, piece: int) -> None:
        """The audio that follows belongs to `piece`."""
        at = self._end_ms
        self.spans.append(Span(piece, at, at))

    def add(self, data: bytes) -> None:
        """Queue audio of the piece begun last. Whole samples only."""
        if data:
            self._queue.append(data)
            self._queued += len(data)
            self.spans[-1].ends_ms = self._end_ms

    def press(self, data: bytes) -> None:
        """Send key tones before anything that waits here; speech pauses for them. No `clear` drops them."""
        self._keys += data

    def is_pressing(self, now: Instant) -> bool:
        """Whether key tones still have to be heard."""
        return bool(self._keys) or self.heard_ms(now) < self._keys_end_ms - _ROUNDING_MS

    def finish(self) -> None:
        """The piece begun last has all its audio."""
        if self.spans:
            self.spans[-1].is_complete = True

    @property
    def _end_ms(self) -> float:
        return self._sent_ms + self.format.ms(self._queued)

    @property
    def queued_ms(self) -> float:
        """Audio that waits here, not yet sent."""
        return self.format.ms(self._queued)

    @property
    def sent_ms(self) -> float:
        """Position up to which audio was sent."""
        return self._sent_ms

    # --------------------------------------------------------------------------------------- sending

    def pull(self, now: Instant) -> list[Outgoing]:
        """What must leave now. Call again at `next_send`, or when audio was added."""
        out: list[Outgoing] = []
        while self._keys and self._sent_ms - self.heard_ms(now) < LEAD_MS:
            self._start_clock(now)
            tones = self._take_keys(self.format.size(CHUNK_MS))
            out.append(Audio(self._with_bed(tones), is_speech=False))
            if not self._keys:
                out.append(self._mark(now))
        while self._queued and not self._keys and not self._is_paused:
            lead = self._sent_ms - self.heard_ms(now)
            if lead >= LEAD_MS or not self._is_worth_sending(lead):
                break
            self._start_clock(now)
            out.append(Audio(self._with_bed(self._take(self.format.size(CHUNK_MS)))))
            if self._is_mark_due():
                out.append(self._mark(now))
        if not self._keys:
            out.extend(self._pull_bed(now))
        return out

    def _is_worth_sending(self, lead: float) -> bool:
        whole = self.format.ms(self._queued) >= CHUNK_MS
        return whole or lead <= LOW_MS + _ROUNDING_MS or self._is_piece_complete

    @property
    def _is_piece_complete(self) -> bool:
        return bool(self.spans) and self.spans[-1].is_complete

    def _take(self, size: int) -> bytes:
        first = self._queue.popleft()
        if len(first) < size:
            parts, total = [first], len(first)
            while self._queue and total < size:
                parts.append(self._queue.popleft())
                total += len(parts[-1])
            first = b"".join(parts)
        if len(first) > size:
            self._queue.appendleft(first[size:])
            first = first[:size]
        self._queued -= len(first)
        self._sent_ms += self.format.ms(len(first))
        self._said_ms = self._sent_ms
        if self.can_pause:
            self._keep(first)
        return first

    def _keep(self, sent: bytes) -> None:
        self._kept.append(sent)
        self._kept_bytes += len(sent)
        unheard = self.format.size(self._sent_ms - self._heard_ms)
        while self._kept_bytes - len(self._kept[0]) > unheard:
            self._kept_bytes -= len(self._kept.popleft())

    def _take_keys(self, size: int) -> bytes:
        """The next tones; the speech that waits moves back by their length."""
        data, self._keys = self._keys[:size], self._keys[size:]
        self._push_back(self.format.ms(len(data)))
        self._keys_end_ms = self._said_ms = self._sent_ms
        return data

    def _push_back(self, lasts: float) -> None:
        """Something else goes before the speech that waits."""
        at = self._sent_ms
        for span in self.spans:
            if span.ends_ms > at or not span.is_complete:
                span.starts_ms += lasts if span.starts_ms >= at else 0.0
                span.ends_ms += lasts
        self._sent_ms += lasts

    def _start_clock(self, now: Instant) -> None:
        # After a pause the ear stands still at the end of what was sent; it moves again from now on.
        if self.heard_ms(now) >= self._sent_ms:
            self._anchor_ms = self._sent_ms
            self._anchor_at = now
        if self._flow_lead(now) <= 0:
            self._flow_ms, self._flow_at = self._sent_ms, now

    def _is_mark_due(self) -> bool:
        ends_piece = not self._queued and self._is_piece_complete
        return ends_piece or self._sent_ms - self._marked_ms >= MARK_EVERY_MS

    def _mark(self, now: Instant) -> Mark:
        self._names += 1
        name = f"{self.prefix}{self._names}"
        ahead = self._sent_ms - self.heard_ms(now)
        due = Instant(now + (ahead + MARK_GRACE_MS) / 1000)
        self._marks.append(_OutMark(name, self._sent_ms, due))
        self._marked_ms = self._sent_ms
        return Mark(name)

    def end_mark(self, now: Instant) -> list[Outgoing]:
        """The mark after the very last audio, when `finish` came too late for `pull` to set it."""
        if self._queued or not self._is_piece_complete or self._marked_ms >= self._said_ms:
            return []
        return [self._mark(now)]

    def next_send(self, now: Instant) -> Instant | None:
        """When `pull` has something to do again without new audio."""
        if not self._keys and (self._is_paused or not self._queued):
            return self._bed_due(now)
        lead = self._sent_ms - self.heard_ms(now)
        whole = (
            bool(self._keys) or self.format.ms(self._queued) >= CHUNK_MS or self._is_piece_complete
        )
        # Waking below the full lead by one chunk makes every wake-up worth a whole frame.
        goal = LEAD_MS - CHUNK_MS if whole else LOW_MS
        return Instant(now + max(0.0, lead - goal) / 1000)

    # ------------------------------------------------------------------------------------ background

    def _with_bed(self, voice: bytes) -> bytes:
        return self.bed.under(voice) if self.bed is not None and self.is_listened_to else voice

    def _flow_lead(self, now: Instant) -> float:
        """Audio that the carrier still has, if it plays without a break.

        The ear, which waits for marks, falls behind by the time that they take to come back.
        """
        return self._sent_ms - self._flow_ms - (now - self._flow_at) * 1000

    def _pull_bed(self, now: Instant) -> list[Outgoing]:
        out: list[Outgoing] = []
        while (due := self._bed_due(now)) is not None and due <= now + _ROUNDING_MS / 1000:
            assert self.bed is not None, "only a bed is due"
            alone = self.bed.alone(self.format.size(BED_CHUNK_MS))
            if not alone:
                self.bed = None
                break
            self._start_clock(now)
            self._push_back(self.format.ms(len(alone)))
            if self.can_pause:
                self._keep(self.format.silence * (len(alone) // self.format.bytes_per_sample))
            out.append(Audio(alone, is_speech=False))
        return out

    def _bed_due(self, now: Instant) -> Instant | None:
        speaks = self._queued and not self._is_paused
        if self.bed is None or not self.is_listened_to or speaks:
            return None
        return Instant(now + max(0.0, self._flow_lead(now) - _BED_LOW_MS) / 1000)

    # --------------------------------------------------------------------------------------- hearing

    def marked(self, name: str, now: Instant) -> bool:
        """A mark came back. True when it means "heard"; false for one that `clear` dropped, or unknown."""
        if name in self._dropped:
            self._dropped.discard(name)
            return False
        if not any(mark.name == name for mark in self._marks):
            return False
        while (mark := self._marks.popleft()).name != name:
            pass  # it was played before this one, whether its mark was lost or is late
        self._anchor_ms = max(mark.at_ms, self.heard_ms(now))
        self._anchor_at = now
        self._heard_ms = self._anchor_ms
        return True

    def heard_ms(self, now: Instant) -> float:
        """Milliseconds of audio the caller has heard by now. Never goes down."""
        while self._marks and now >= self._marks[0].due:
            self._marks.popleft()
        limit = self._marks[0].at_ms if self._marks else self._sent_ms
        reached = self._anchor_ms + (now - self._anchor_at) * 1000
        self._heard_ms = max(self._heard_ms, min(reached, limit))
        return self._heard_ms

    def is_silent(self, now: Instant) -> bool:
        """Whether all that was added has been heard."""
        heard = self.heard_ms(now)
        waits = self._queued or self._keys
        return not waits and not self._marks and heard >= self._said_ms - _ROUNDING_MS

    def silent_at(self, now: Instant) -> Instant | None:
        """When `is_silent` may be true at the earliest if nothing else is added; `None` while more waits here."""
        if self._queued or self._keys:
            return None
        heard = self.heard_ms(now)
        if self._marks:
            return max(mark.due for mark in self._marks)
        return Instant(now + max(0.0, self._said_ms - heard) / 1000)

    def clear(self, now: Instant) -> float:
        """Drop everything that was not heard, here and at the carrier. Returns the position of the ear.

        Send the carrier's `clear` after it. Marks that are still out come back now, and mean nothing.
        """
        heard = self.heard_ms(now)
        self._drop_marks()
        self._queue.clear()
        self._queued = 0
        self._stand_at(heard, now)
        self._is_paused = False
        return heard

    def _stand_at(self, position_ms: float, now: Instant) -> None:
        """The carrier has nothing; what comes next is heard from `position_ms` on."""
        self._sent_ms = self._marked_ms = self._anchor_ms = self._flow_ms = position_ms
        self._said_ms = min(self._said_ms, position_ms)
        self._anchor_at = self._flow_at = now

    def _drop_marks(self) -> None:
        self._dropped.update(mark.name for mark in self._marks)
        self._marks.clear()
        self._kept.clear()
        self._kept_bytes = 0

    def pause(self, now: Instant) -> None:
        """Take back everything that was not heard, and send nothing until `resume`.

        Send the carrier's `clear` after it, as after `clear`. Not while key tones are on their way.
        """
        assert self.can_pause, "what is to be taken back has to be kept"
        heard = self.heard_ms(now)
        unheard = self.format.size(self._sent_ms - heard)
        after = self.format.size(self._sent_ms - self._said_ms)
        kept = b"".join(self._kept)
        tail = kept[max(0, len(kept) - unheard) : max(0, len(kept) - after)]
        self._drop_marks()
        if tail:
            self._queue.appendleft(tail)
            self._queued += len(tail)
        self._stand_at(max(heard, self._said_ms - self.format.ms(len(tail))), now)
        self._is_paused = True

    def resume(self) -> None:
        """Go on from where `pause` stopped."""
        self._is_paused = False

    def drop_unsent(self) -> None:
        """Drop the speech that was not sent, and leave the carrier what it has: key tones are among it."""
        self._queue.clear()
        self._queued = 0
        self._is_paused = False

    def forget_before(self, position_ms: float) -> None:
        """Spans that ended before `position_ms` are no longer asked about."""
        self.spans = [
            span for span in self.spans if span.ends_ms > position_ms or not span.is_complete
        ]
