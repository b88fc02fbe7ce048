"""An ElevenLabs Scribe of our own: the realtime recogniser as its vendor's client speaks to it.

The key is looked at after the socket is open, as `auth_error`. An utterance is committed after a silence, or when the
client says so; a commit of too little audio is an error that ends nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from getpatter.testing.fake_speech import (
    KEY,
    Call,
    FakeService,
    HungUpError,
    Line,
    Listener,
    Refusal,
)
from getpatter.types import MULAW_8K, AudioFormat, Encoding

_LEAST_COMMIT_MS: Final = 300.0


class FakeScribe(FakeService):
    """Hears the lines of its script, one an utterance."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each utterance of a connection is said to be."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.error: Mapping[str, str] | None = None
        """`{"message_type", "error"}` said instead of the next words, before the socket closes."""

    def may_enter(self, call: Call) -> Refusal | None:
        """400 without model or format."""
        if call.path != "/v1/speech-to-text/realtime":
            return Refusal(404)
        if not call.said("model_id") or _format(call) is None:
            return Refusal(400, b'{"detail":{"status":"invalid_request","message":"format"}}')
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """One session."""
        if self.key not in {call.headers.get("xi-api-key"), call.said("token")}:
            given = call.headers.get("xi-api-key")
            await line.say({"message_type": "auth_error", "error": f"Invalid API key {given}"})
            return
        await _Session(self, call, line).run()


class _Session:
    def __init__(self, service: FakeScribe, call: Call, line: Line) -> None:
        audio_format = _format(call)
        assert audio_format is not None, "was checked at the door"
        self.service = service
        self.line = line
        self.format = audio_format
        self.commits_itself = call.said("commit_strategy") == "vad"
        quiet_ms = float(call.said("vad_silence_threshold_secs") or "1.5") * 1000
        self.listener = Listener([*service.lines], audio_format, quiet_ms)
        self.received = 0
        self.uncommitted = 0
        started = {"message_type": "session_started", "session_id": "s-1"}
        self.started = {**started, "config": {"model_id": call.said("model_id")}}

    async def run(self) -> None:
        await self.line.say(self.started)
        while True:
            message = msgspec.json.decode(await self.line.receive())
            await self.service.hold.wait()
            if message.get("message_type") != "input_audio_chunk":
                await self.say("input_error", error="unknown message_type")
                return
            try:
                audio = base64.b64decode(str(message["audio_base_64"]), validate=True)
            except (binascii.Error, KeyError):
                await self.say("input_error", error="audio_base_64")
                return
            await self.hear(audio)
            if message.get("commit"):
                await self.commit()

    async def hear(self, audio: bytes) -> None:
        self.received += len(audio)
        self.uncommitted += len(audio)
        self.service.seconds_heard += self.format.ms(len(audio)) / 1000
        for news in self.listener.hear(audio):
            if news == "interim" and self.listener.line:
                await self.say("partial_transcript", text=self.listener.guess)
            elif news == "final" and self.commits_itself:
                await self.words()
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def commit(self) -> None:
        if self.format.ms(self.uncommitted) < _LEAST_COMMIT_MS:
            await self.say("commit_throttled", error="Commit with less than 0.3 s of audio")
        elif self.listener.began_ms is None:
            self.uncommitted = 0
            await self.say("committed_transcript", text="")
        else:
            await self.words()

    async def words(self) -> None:
        if self.service.error is not None:
            await self.line.say(self.service.error)
            await self.line.close(1008)
            raise HungUpError
        self.uncommitted = 0
        text, _, _ = self.listener.take()
        await self.say("committed_transcript", text=text)

    async def say(self, kind: str, **more: str) -> None:
        await self.line.say({"message_type": kind, **more})


def _format(call: Call) -> AudioFormat | None:
    kind, _, rate = call.said("audio_format", "pcm_16000").partition("_")
    if kind == "ulaw":
        return MULAW_8K
    return AudioFormat(Encoding.PCM16, int(rate)) if kind == "pcm" and rate.isdigit() else None
