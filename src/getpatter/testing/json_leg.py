"""What the media sockets of all carriers have in common: JSON frames, sound in pieces of 20 ms, marks, keys.

A carrier's own leg says how its frames are written and what is wrong with those it gets. Pure, with time
passed in, like every `Leg`.
"""

from __future__ import annotations

import binascii
import json
import random  # noqa: TID251 - seeded accidents of a line
from base64 import b64decode
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from getpatter.testing.line import FRAME_S, Complaint, Conditions, Microphone, PlayBuffer
from getpatter.types import AudioFormat, Instant

Message = dict[str, Any]

_KEY_EVERY_S: Final = 0.2
_MOST_DETAIL: Final = 80


class JsonLeg:
    """One stream. Carriers extend it by what their frames look like."""

    def __init__(
        self,
        began: Instant,
        *,
        plays: AudioFormat,
        sends: AudioFormat,
        conditions: Conditions | None = None,
    ) -> None:
        """`began`: when the socket opened; `plays`: what the server sends us; `sends`: what the caller says."""
        self.conditions = conditions or Conditions()
        self.random = random.Random(self.conditions.seed)  # noqa: S311 - accidents, not secrets
        self.play = PlayBuffer(plays, began, mark_delay_ms=self.conditions.late_marks_ms)
        """What the caller hears."""
        self.microphone = Microphone(sends)
        """What the caller says."""
        self.complaints: list[Complaint] = []
        self.marks_returned: list[tuple[Instant, str]] = []
        """Marks sent back and when."""
        self.clears: list[Instant] = []
        """When the server cleared the queue."""
        self.is_over = False
        self._keys: deque[tuple[Instant, str]] = deque()
        self._outbox: deque[tuple[Instant, Message]] = deque()
        self._sent = 0
        self.chunk = 0
        """Pieces of the caller's sound so far."""

    # ------------------------------------------------------------------------- what a carrier says

    def voice_frame(self, sound: bytes) -> Message:
        """Write a piece of the caller's sound."""
        raise NotImplementedError

    def key_frame(self, digit: str, at: Instant) -> Message:
        """Write a key press."""
        raise NotImplementedError

    def mark_frame(self, name: str) -> Message:
        """Write the return of a mark."""
        raise NotImplementedError

    def last_frames(self) -> list[Message]:
        """Say that the stream is over; nothing where closing the socket says it."""
        return []

    def numbered(self, message: Message, number: int) -> Message:
        """The message with its running number, counted from 1 without `connected`."""
        raise NotImplementedError

    def what_is_wrong(self, message: object) -> str:
        """Why a frame of the server is not what the protocol says; empty when nothing is."""
        raise NotImplementedError

    def obey(self, message: Message, now: Instant) -> None:
        """Do what a frame of the server says."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------- to the server

    @property
    def deadline(self) -> Instant | None:
        """When `tick` has to be called next; `None` once the stream is over."""
        if self.is_over:
            return self._outbox[0][0] if self._outbox else None
        times = [self._next_frame_at()]
        if self._outbox:
            times.append(self._outbox[0][0])
        if self._keys:
            times.append(self._keys[0][0])
        if self.play.next_mark is not None:
            times.append(self.play.next_mark)
        return min(times)

    def tick(self, now: Instant) -> list[str]:
        """Frames to send now, in order."""
        if not self.is_over:
            self._collect(now)
        frames: list[str] = []
        while self._outbox and (self.is_over or self._outbox[0][0] <= now):
            message = self._outbox.popleft()[1]
            if message["event"] != "connected":
                self._sent += 1
                message = self.numbered(message, self._sent)
            frames.append(json.dumps(message))
        return self.in_order_of_arrival(frames)

    def in_order_of_arrival(self, frames: list[str]) -> list[str]:
        """The frames as the network brings them."""
        return frames

    def press(self, digits: str, now: Instant) -> None:
        """The caller presses these keys, a fifth of a second apart."""
        at = max(now, self._keys[-1][0] + _KEY_EVERY_S) if self._keys else now
        for index, digit in enumerate(digits):
            self._keys.append((Instant(at + index * _KEY_EVERY_S), digit))

    def stop(self, now: Instant) -> None:
        """The stream is over; the last `tick` returns what is still on its way."""
        if self.is_over:
            return
        self._collect(now)
        for _ in range(2 if self.conditions.stops_twice else 1):
            for message in self.last_frames():
                self.put(now, message)
        self.is_over = True

    def put(self, at: Instant, message: Message) -> None:
        """Queue a frame for the server."""
        late = self.random.random() * self.conditions.jitter_ms / 1000
        before = self._outbox[-1][0] if self._outbox else at
        self._outbox.append((Instant(max(before, at + late)), message))

    def return_marks(self, names: list[str], now: Instant) -> None:
        """Send marks back."""
        for name in names:
            self.marks_returned.append((now, name))
            self.put(now, self.mark_frame(name))

    def _collect(self, now: Instant) -> None:
        while (at := self._next_frame_at()) <= now:
            self.chunk += 1
            sound = self.microphone.frame()
            if self.random.random() >= self.conditions.loss:
                self.put(at, self.voice_frame(sound))
        while self._keys and self._keys[0][0] <= now:
            at, digit = self._keys.popleft()
            self.put(at, self.key_frame(digit, at))
        self.return_marks(self.play.marks_played(now), now)

    def _next_frame_at(self) -> Instant:
        # A frame can be sent when its 20 ms have been spoken.
        return Instant(self.play.began + (self.chunk + 1) * FRAME_S)

    # -------------------------------------------------------------------------------- from the server

    def receive(self, frame: str | bytes, now: Instant) -> None:
        """A frame of the server: text, or bytes for a binary one. Call `tick` afterwards."""
        if self.is_over:  # it crossed the end of the stream on the way
            return
        if not self._sent:
            self.complain(now, "sent before start")
            return
        if isinstance(frame, bytes):
            self.complain(now, "a binary frame")
            return
        try:
            message: Any = json.loads(frame)
        except (ValueError, RecursionError):
            self.complain(now, f"not JSON: {frame}")
            return
        wrong = self.what_is_wrong(message)
        if wrong:
            self.complain(now, wrong)
            return
        self.return_marks(self.play.marks_played(now), now)
        self.obey(message, now)

    def complain(self, now: Instant, text: str, code: int = 0) -> None:
        """Remember what the carrier would not have accepted."""
        self.complaints.append(Complaint(now, code, text[:_MOST_DETAIL]))


def wrong_fields(message: object, shapes: Mapping[str, Mapping[str, object]]) -> str:
    """Why `message` has not the shape of its event; a shape is a dict of fields, `str`, `int` or a dict of them."""
    if not isinstance(message, dict):
        return "not an object"
    event = message.get("event")
    if not isinstance(event, str) or event not in shapes:
        return f"unknown event {event!r}"
    return _misfit(event, message, {"event": str, **shapes[event]})


def _misfit(where: str, value: object, shape: object) -> str:
    if not isinstance(shape, Mapping):
        return "" if isinstance(value, shape) else f"{where}: not a {shape}"  # type: ignore[arg-type]  # a type
    if not isinstance(value, dict):
        return f"{where}: not an object"
    if set(value) != set(shape):
        return f"{where}: missing {sorted(set(shape) - set(value))}, extra {sorted(set(value) - set(shape))}"
    return next(filter(None, (_misfit(name, value[name], shape[name]) for name in shape)), "")


def sound_of(payload: str) -> bytes | None:
    """The audio in a payload; `None` when it is not base64."""
    try:
        return b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return None
