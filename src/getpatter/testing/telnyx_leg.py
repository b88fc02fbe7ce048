"""Telnyx's end of one media socket, as strict as the real one: pure, with time passed in.

Protocol: https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming. What Telnyx answers with an
`error` frame is answered so, and kept as a complaint; a test should end with none.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from dataclasses import dataclass
from typing import Final, Literal

from getpatter.testing.json_leg import JsonLeg, Message, sound_of, wrong_fields
from getpatter.testing.line import Conditions
from getpatter.types import AudioFormat, Encoding, Instant

MALFORMED_FRAME: Final = 100003
INVALID_MEDIA: Final = 100004

_SHAPES: Final = {
    "media": {"media": {"payload": str}},
    "mark": {"mark": {"name": str}},
    "clear": {},
}
_NAMES: Final = {Encoding.PCM16: "L16", Encoding.MULAW: "PCMU", Encoding.ALAW: "PCMA"}
_SHORTEST_MS: Final = 20
_LONGEST_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the `start` of a stream says."""

    stream_id: str
    call_id: str
    caller: str
    callee: str
    client_state: str | None
    heard: AudioFormat
    """What the server is sent."""
    said: AudioFormat
    """What the server was told to send."""


class TelnyxLeg(JsonLeg):
    """One stream: plays what it is sent, returns marks when their audio was heard, sends the caller's voice."""

    def __init__(
        self,
        began: Instant,
        facts: StreamFacts,
        *,
        byte_order: Literal["little", "big"] = "little",
        reorders: bool = False,
        conditions: Conditions | None = None,
    ) -> None:
        """`byte_order`: of L16, both ways; `reorders`: now and then two frames of sound change places."""
        super().__init__(began, plays=facts.said, sends=facts.heard, conditions=conditions)
        self.facts = facts
        self._is_big = byte_order == "big"
        self._reorders = reorders
        self._kept_back: str | None = None
        self.put(began, {"event": "connected", "version": "1.0.0"})
        self.put(began, {"event": "start", "start": self._start()})

    # ---------------------------------------------------------------------------------- to the server

    def voice_frame(self, sound: bytes) -> Message:
        """The `media` frame."""
        media = {
            "track": "inbound",
            "chunk": str(self.chunk),
            "timestamp": str(self.chunk * 20),
            "payload": b64encode(self._turned(sound, self.facts.heard)).decode(),
        }
        return {"event": "media", "media": media}

    def key_frame(self, digit: str, at: Instant) -> Message:
        """The `dtmf` frame."""
        return {"event": "dtmf", "occurred_at": f"{at:.6f}", "dtmf": {"digit": digit}}

    def mark_frame(self, name: str) -> Message:
        """The `mark` frame."""
        return {"event": "mark", "mark": {"name": name}}

    def last_frames(self) -> list[Message]:
        """The `stop` frame."""
        stop = {"user_id": "simulated", "call_control_id": self.facts.call_id}
        return [{"event": "stop", "stop": stop}]

    def numbered(self, message: Message, number: int) -> Message:
        """Numbers are strings here."""
        head = {"sequence_number": str(number), "stream_id": self.facts.stream_id}
        return {"event": message["event"], **head, **message}

    def in_order_of_arrival(self, frames: list[str]) -> list[str]:
        """Order is not promised: a frame of sound may be overtaken by the next one."""
        if not self._reorders:
            return frames
        arriving: list[str] = []
        for frame in frames:
            if self._kept_back is not None:
                arriving += [frame, self._kept_back]
                self._kept_back = None
            elif '"event": "media"' in frame and self.random.random() < 0.2:  # noqa: PLR2004
                self._kept_back = frame
            else:
                arriving.append(frame)
        return arriving

    def _start(self) -> Message:
        facts = self.facts
        return {
            "user_id": "simulated",
            "call_control_id": facts.call_id,
            "call_session_id": f"session-{facts.call_id}",
            "from": facts.caller,
            "to": facts.callee,
            "tags": [],
            "client_state": facts.client_state,
            "media_format": {
                "encoding": _NAMES[facts.heard.encoding],
                "sample_rate": facts.heard.sample_rate,
                "channels": 1,
            },
        }

    def _turned(self, sound: bytes, layout: AudioFormat) -> bytes:
        if not self._is_big or layout.encoding is not Encoding.PCM16:
            return sound
        samples = array("h", sound)
        samples.byteswap()
        return samples.tobytes()

    # -------------------------------------------------------------------------------- from the server

    def what_is_wrong(self, message: object) -> str:
        """Exactly the documented fields, and audio of 20 ms to 30 s."""
        return wrong_fields(message, _SHAPES)

    def obey(self, message: Message, now: Instant) -> None:
        """Queue audio, remember a mark, or drop what is queued."""
        match message["event"]:
            case "media":
                self._play(message["media"]["payload"], now)
            case "mark":
                self.play.mark(message["mark"]["name"], now)
                self.return_marks(self.play.marks_played(now), now)
            case _:
                self.clears.append(now)
                self.return_marks(self.play.clear(now), now)

    def _play(self, payload: str, now: Instant) -> None:
        sound = sound_of(payload)
        if sound is None or len(sound) % self.facts.said.bytes_per_sample:
            self._refuse(now, INVALID_MEDIA, "invalid_media")
            return
        if not _SHORTEST_MS <= self.facts.said.ms(len(sound)) <= _LONGEST_MS:
            self._refuse(now, INVALID_MEDIA, "media of less than 20 ms or more than 30 s")
            return
        self.play.play(self._turned(sound, self.facts.said), now)

    def _refuse(self, now: Instant, code: int, title: str) -> None:
        self.complain(now, title, code)
        payload = {"code": code, "title": title, "detail": "see the documentation"}
        self.put(now, {"event": "error", "payload": payload})
