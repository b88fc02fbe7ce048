"""Plivo's end of one audio stream, as strict as its documentation: pure, with time passed in.

Protocol: https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference. The end of a
stream is the end of its socket, and a checkpoint that `clearAudio` dropped never comes back.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from getpatter.testing.json_leg import JsonLeg, Message, sound_of, wrong_fields
from getpatter.testing.line import Conditions
from getpatter.types import MULAW_8K, Instant

_SHAPES: Final[Mapping[str, Mapping[str, object]]] = {
    "playAudio": {"media": {"contentType": str, "sampleRate": int, "payload": str}},
    "checkpoint": {"streamId": str, "name": str},
    "clearAudio": {"streamId": str},
    "sendDTMF": {"dtmf": str},
}


class PlivoLeg(JsonLeg):
    """One stream: plays what it is sent, returns checkpoints when their audio was heard, sends the caller's voice."""

    def __init__(
        self,
        began: Instant,
        *,
        stream_id: str,
        call_id: str,
        account_id: str,
        conditions: Conditions | None = None,
    ) -> None:
        """`began`: when the socket opened."""
        super().__init__(began, plays=MULAW_8K, sends=MULAW_8K, conditions=conditions)
        self.stream_id = stream_id
        self.digits: list[str] = []
        """Keys that the server pressed."""
        start = {
            "callId": call_id,
            "streamId": stream_id,
            "accountId": account_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        self.put(began, {"event": "start", "start": start, "extra_headers": ""})

    # ---------------------------------------------------------------------------------- to the server

    def voice_frame(self, sound: bytes) -> Message:
        """The `media` frame."""
        media = {
            "track": "inbound",
            "timestamp": str(self.chunk * 20),
            "chunk": self.chunk,
            "payload": b64encode(sound).decode(),
        }
        return {"event": "media", "media": media, "extra_headers": ""}

    def key_frame(self, digit: str, at: Instant) -> Message:
        """The `dtmf` frame."""
        dtmf = {"track": "inbound", "digit": digit, "timestamp": str(round(at * 1000))}
        return {"event": "dtmf", "dtmf": dtmf, "extra_headers": ""}

    def mark_frame(self, name: str) -> Message:
        """The `playedStream` frame."""
        return {"event": "playedStream", "name": name}

    def numbered(self, message: Message, number: int) -> Message:
        """Numbers are numbers here; the start names its stream inside."""
        head = {} if message["event"] == "start" else {"streamId": self.stream_id}
        return {"event": message["event"], "sequenceNumber": number, **head, **message}

    # -------------------------------------------------------------------------------- from the server

    def what_is_wrong(self, message: object) -> str:
        """Exactly the documented fields, our stream, and mu-law."""
        wrong = wrong_fields(message, _SHAPES)
        if wrong or not isinstance(message, dict):
            return wrong
        if message.get("streamId", self.stream_id) != self.stream_id:
            return f"{message['event']}: wrong streamId"
        if message["event"] != "playAudio":
            return ""
        media = message["media"]
        if (media["contentType"], media["sampleRate"]) != ("audio/x-mulaw", 8000):
            return "playAudio: not what the document asked for"
        return "" if sound_of(media["payload"]) is not None else "playAudio: not base64"

    def obey(self, message: Message, now: Instant) -> None:
        """Queue audio, remember a checkpoint, drop what is queued, or press keys."""
        match message["event"]:
            case "playAudio":
                self.play.play(sound_of(message["media"]["payload"]) or b"", now)
            case "checkpoint":
                self.play.mark(message["name"], now)
                self.return_marks(self.play.marks_played(now), now)
            case "clearAudio":
                self.clears.append(now)
                self.play.clear(now)
                self.put(now, {"event": "clearedAudio"})
            case _:
                self.digits.append(message["dtmf"])
