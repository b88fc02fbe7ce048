"""Twilio's end of one media socket, as strict as the real one: pure, with time passed in.

Protocol: https://www.twilio.com/docs/voice/media-streams/websocket-messages. What Twilio would have warned
about (errors 31950 and 31951) is kept as complaints; a test should end with none.
"""

from __future__ import annotations

import binascii
import json
import random  # noqa: TID251 - seeded accidents of a line
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Mapping
from typing import Final

from getpatter.testing.line import FRAME_S, Complaint, Conditions, Microphone, PlayBuffer
from getpatter.types import MULAW_8K, Instant

UNDECODABLE: Final = 31950
NOT_CONFORMING: Final = 31951

_KEY_EVERY_S: Final = 0.2
_MOST_DETAIL: Final = 80
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "media": frozenset({"event", "streamSid", "media"}),
    "mark": frozenset({"event", "streamSid", "mark"}),
    "clear": frozenset({"event", "streamSid"}),
}
_INNER: Final = {"media": "payload", "mark": "name"}


class TwilioLeg:
    """One stream: plays what it is sent, returns marks when their audio was heard, sends the caller's voice."""

    def __init__(
        self,
        began: Instant,
        *,
        stream_sid: str,
        call_sid: str,
        account_sid: str,
        parameters: Mapping[str, str] | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        """`began`: when the socket opened; `parameters`: those of the `<Stream>`."""
        self.stream_sid = stream_sid
        self.call_sid = call_sid
        self._account_sid = account_sid
        self._parameters = dict(parameters or {})
        self._conditions = conditions or Conditions()
        self._random = random.Random(self._conditions.seed)  # noqa: S311 - accidents, not secrets
        self.play = PlayBuffer(MULAW_8K, began, mark_delay_ms=self._conditions.late_marks_ms)
        """What the caller hears."""
        self.microphone = Microphone(MULAW_8K)
        """What the caller says."""
        self.complaints: list[Complaint] = []
        self.marks_returned: list[tuple[Instant, str]] = []
        """Marks sent back, played or flushed, and when."""
        self.clears: list[Instant] = []
        """When the server cleared the queue."""
        self.is_over = False
        self._keys: deque[tuple[Instant, str]] = deque()
        self._outbox: deque[tuple[Instant, str, str]] = deque()
        self._sequence = 0
        self._chunk = 0
        self._put(began, '"connected","protocol":"Call","version":"1.0.0"')
        self._put(began, f'"start",{self._start()}')

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
            _, head, rest = self._outbox.popleft()
            frames.append(self._numbered(head, rest))
        return frames

    def press(self, digits: str, now: Instant) -> None:
        """The caller presses these keys, a fifth of a second apart."""
        at = max(now, self._keys[-1][0] + _KEY_EVERY_S) if self._keys else now
        for index, digit in enumerate(digits):
            self._keys.append((Instant(at + index * _KEY_EVERY_S), digit))

    def stop(self, now: Instant) -> None:
        """The stream is over; the last `tick` returns what is still on its way and `stop`."""
        if self.is_over:
            return
        self._collect(now)
        ids = {"accountSid": self._account_sid, "callSid": self.call_sid}
        for _ in range(2 if self._conditions.stops_twice else 1):
            self._put(now, f'"stop","stop":{json.dumps(ids)}')
        self.is_over = True

    def _collect(self, now: Instant) -> None:
        while (at := self._next_frame_at()) <= now:
            self._chunk += 1
            sound = self.microphone.frame()
            if self._random.random() >= self._conditions.loss:
                self._put(at, self._media(sound))
        while self._keys and self._keys[0][0] <= now:
            at, digit = self._keys.popleft()
            self._put(at, f'"dtmf","dtmf":{json.dumps({"track": "inbound_track", "digit": digit})}')
        for name in self.play.marks_played(now):
            self._return_mark(name, now)

    def _next_frame_at(self) -> Instant:
        # A frame can be sent when its 20 ms have been spoken.
        return Instant(self.play.began + (self._chunk + 1) * FRAME_S)

    def _media(self, sound: bytes) -> str:
        timestamp = round(self._chunk * FRAME_S * 1000)
        payload = b64encode(sound).decode()
        return (
            f'"media","media":{{"track":"inbound","chunk":"{self._chunk}",'
            f'"timestamp":"{timestamp}","payload":"{payload}"}}'
        )

    def _return_mark(self, name: str, now: Instant) -> None:
        self.marks_returned.append((now, name))
        self._put(now, f'"mark","mark":{json.dumps({"name": name})}')

    def _put(self, at: Instant, text: str) -> None:
        late = self._random.random() * self._conditions.jitter_ms / 1000
        before = self._outbox[-1][0] if self._outbox else at
        head, _, rest = text.partition(",")
        self._outbox.append((Instant(max(before, at + late)), head, rest))

    def _numbered(self, head: str, rest: str) -> str:
        if head == '"connected"':
            return f'{{"event":{head},{rest}}}'
        self._sequence += 1
        return (
            f'{{"event":{head},"sequenceNumber":"{self._sequence}",'
            f'"streamSid":"{self.stream_sid}",{rest}}}'
        )

    def _start(self) -> str:
        start = {
            "streamSid": self.stream_sid,
            "accountSid": self._account_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._parameters,
        }
        return f'"start":{json.dumps(start)}'

    # -------------------------------------------------------------------------------- from the server

    def receive(self, frame: str | bytes, now: Instant) -> None:
        """A frame of the server: text, or bytes for a binary one. Call `tick` afterwards."""
        if self.is_over:  # it crossed our `stop` on the way
            return
        if not self._sequence:
            self._complain(now, NOT_CONFORMING, "sent before start")
            return
        if isinstance(frame, bytes):
            self._complain(now, UNDECODABLE, "a binary frame")
            return
        try:
            message = json.loads(frame)
        except (ValueError, RecursionError):
            self._complain(now, UNDECODABLE, f"not JSON: {frame}")
            return
        wrong = _what_is_wrong(message, self.stream_sid)
        if wrong:
            self._complain(now, NOT_CONFORMING, wrong)
        else:
            self._obey(message, now)

    def _obey(self, message: Mapping[str, Mapping[str, str]], now: Instant) -> None:
        for name in self.play.marks_played(now):
            self._return_mark(name, now)
        if "media" in message:
            sound = b64decode(message["media"]["payload"])
            if sound[:4] in {b"RIFF", b".snd", b"OggS"} or sound[:3] == b"ID3":
                self._complain(now, NOT_CONFORMING, "audio begins with a file header")
            self.play.play(sound, now)
        elif "mark" in message:
            self.play.mark(message["mark"]["name"], now)
            for name in self.play.marks_played(now):
                self._return_mark(name, now)
        else:
            self.clears.append(now)
            for name in self.play.clear(now):
                self._return_mark(name, now)

    def _complain(self, now: Instant, code: int, text: str) -> None:
        self.complaints.append(Complaint(now, code, text[:_MOST_DETAIL]))


def _what_is_wrong(message: object, stream_sid: str) -> str:  # noqa: PLR0911 - one reason after the other
    if not isinstance(message, dict):
        return "not an object"
    event = message.get("event")
    if not isinstance(event, str) or event not in _FIELDS:
        return f"unknown event {event!r}"
    fields = frozenset(message)
    if fields != _FIELDS[event]:
        return f"{event}: missing {sorted(_FIELDS[event] - fields)}, extra {sorted(fields - _FIELDS[event])}"
    if message["streamSid"] != stream_sid:
        return f"{event}: wrong streamSid"
    if event not in _INNER:
        return ""
    inner, name = message[event], _INNER[event]
    if not isinstance(inner, dict) or set(inner) != {name} or not isinstance(inner[name], str):
        return f"{event}: needs exactly the text {name!r}"
    if event == "mark":
        return "" if inner[name] else "mark: without a name"
    try:
        b64decode(inner[name], validate=True)
    except (binascii.Error, ValueError):
        return "media: payload is not base64"
    return ""
