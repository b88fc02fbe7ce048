"""A lean carrier for benchmarks: signed webhooks, real sockets, 50 frames a second for each call, and no more.

The simulated Twilio of the test kit listens to the sound, which costs more than the server under test. This one
knows only how long each piece of sound lasts. It returns marks when their sound was heard, as the real one does.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks._phone import HOST, Phone
from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.testing.callers import RATE, syllables
from getpatter.testing.network import Loopback
from getpatter.testing.providers import is_audible
from getpatter.testing.twilio import SimulatedTwilio

FRAME_S = 0.02
FRAME_BYTES = 160
_TEXT = WSMsgType.TEXT


class _Media(msgspec.Struct):
    payload: bytes


class _Mark(msgspec.Struct):
    name: str


class _Frame(msgspec.Struct):
    event: str
    media: _Media | None = None
    mark: _Mark | None = None


_read = msgspec.json.Decoder(_Frame).decode


@dataclass(frozen=True, slots=True)
class Speech:
    """What a caller says again and again: a sound, then silence until the turn has passed."""

    payloads: Sequence[bytes]
    """One for each 20 ms of the turn, in base64."""
    last_frame: int
    """The last frame with a voice in it."""
    rest_ms: float
    """From the last sample of the voice to the end of that frame, where the carrier can send it."""

    @classmethod
    def of(cls, lasts_s: float, turn_s: float, *, cut_samples: int = 0) -> Speech:
        """Syllables for `lasts_s`, ended abruptly `cut_samples` into a frame."""
        pcm = syllables(int(lasts_s / 0.19) + 1)[: 2 * (round(lasts_s * RATE) + cut_samples)]
        sound = pcm16_to_mulaw(pcm)
        while not is_audible(sound[-1:]):
            sound = sound[:-1]
        n_frames = round(turn_s / FRAME_S)
        whole = sound.ljust(n_frames * FRAME_BYTES, b"\xff")
        frames = [whole[at : at + FRAME_BYTES] for at in range(0, len(whole), FRAME_BYTES)]
        last = (len(sound) - 1) // FRAME_BYTES
        rest = (last + 1) * FRAME_BYTES - len(sound)
        return cls([b64encode(frame) for frame in frames], last, rest / RATE * 1000)


@dataclass(slots=True)
class Heard:
    """What callers of one run noticed."""

    answers_ms: array[float] = field(default_factory=lambda: array("d"))
    """From sending the last frame with a voice to the first frame of the answer."""
    ear_ms: array[float] = field(default_factory=lambda: array("d"))
    """The same from the caller's last sample, as they would notice it."""
    gaps_ms: array[float] = field(default_factory=lambda: array("d"))
    """Silences inside an answer: the next piece came after the one before had ended."""
    pieces: int = 0
    spoken_ms: float = 0.0
    late_frames: int = 0
    """Frames of callers that this process sent more than 10 ms late: the load was not what it should be."""
    unanswered: int = 0


class LeanCall(WSListener):
    """One call."""

    def __init__(
        self, sid: str, speech: Speech, reply_bytes: int, heard: Heard, phase: int
    ) -> None:
        self._sid = sid
        self._speech = speech
        self._reply_bytes = reply_bytes
        self._heard = heard
        self._at = phase
        self._chunk = 0
        self._spoke_at = 0.0
        self._left = 0
        self._plays_until = 0.0
        self._head = b""
        self._loop = asyncio.get_running_loop()
        self.is_counted = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def start(self, parameters: dict[str, str]) -> None:
        """Say which call this is."""
        stream = self._sid.replace("CA", "MZ")
        start = {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": stream,
            "start": {
                "streamSid": stream,
                "accountSid": "AC" + "5e" * 16,
                "callSid": self._sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": parameters,
            },
        }
        connected = b'{"event":"connected","protocol":"Call","version":"1.0.0"}'
        self._transport.send(_TEXT, connected)
        self._transport.send(_TEXT, msgspec.json.encode(start))
        self._head = (
            b'{"event":"media","sequenceNumber":"%d","streamSid":"'
            + stream.encode()
            + b'","media":{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"%b"}}'
        )
        self._mark = b'{"event":"mark","streamSid":"' + stream.encode() + b'","mark":{"name":"%b"}}'

    def say(self) -> None:
        """Send the next 20 ms."""
        self._chunk += 1
        n = self._chunk
        frame = self._head % (n + 1, n, 20 * n, self._speech.payloads[self._at])
        if self._at == self._speech.last_frame and self._chunk > self._at:
            if self._spoke_at and self.is_counted:
                self._heard.unanswered += 1
            self._spoke_at = time.monotonic()
        self._transport.send(_TEXT, frame)
        self._at = (self._at + 1) % len(self._speech.payloads)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != _TEXT:
            return
        now = time.monotonic()
        said = _read(frame.get_payload_as_bytes())
        if said.media is not None:
            self._hear(len(said.media.payload), now)
        elif said.mark is not None:
            answer = self._mark % said.mark.name.encode()
            delay = max(0.0, self._plays_until - now)
            self._loop.call_later(delay, transport.send, _TEXT, answer)
        else:
            raise AssertionError("nobody interrupts here")

    def _hear(self, n_bytes: int, now: float) -> None:
        heard = self._heard
        if not self._left:
            self._left = self._reply_bytes
            if self._spoke_at and self.is_counted:
                answer = (now - self._spoke_at) * 1000
                heard.answers_ms.append(answer)
                heard.ear_ms.append(answer + self._speech.rest_ms)
            self._spoke_at = 0.0
        elif now > self._plays_until and self.is_counted:
            heard.gaps_ms.append((now - self._plays_until) * 1000)
        self._left -= n_bytes
        self._plays_until = max(now, self._plays_until) + n_bytes / RATE
        if self.is_counted:
            heard.pieces += 1
            heard.spoken_ms += n_bytes / RATE * 1000

    def hang_up(self) -> None:
        """Leave."""
        self._transport.disconnect()


class Carrier:
    """So many calls to one server."""

    def __init__(self, phone: Phone) -> None:
        self.heard = Heard()
        self.calls: list[LeanCall] = []
        self._phone = phone
        self._twilio = SimulatedTwilio(listens=False)
        self._network = Loopback(f"127.0.0.1:{phone.port}")
        self._is_talking = True

    async def connect(self, speeches: Sequence[Speech]) -> None:
        """Ring once for each of `speeches`, whose turns begin evenly spread."""
        reply_bytes = round(self._phone.setup.reply_ms * RATE / 1000)
        for number, speech in enumerate(speeches, start=len(self.calls)):
            length = len(speech.payloads)
            # Silence first: nobody is in the middle of a word when the call begins.
            phase = (speech.last_frame + 1 + number * 7919) % length
            sid = f"CA{number:032x}"
            call = LeanCall(sid, speech, reply_bytes, self.heard, phase)
            url, parameters = await self._ring(sid)
            await ws_connect(lambda call=call: call, url)
            call.start(parameters)
            self.calls.append(call)

    async def _ring(self, sid: str) -> tuple[str, dict[str, str]]:
        url = f"https://{HOST}/webhooks/twilio/voice"
        form = {
            "CallSid": sid,
            "AccountSid": self._twilio.account_sid,
            "From": "+15550009876",
            "To": self._twilio.number,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
        }
        body = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in form.items())
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": self._twilio.sign(url, form),
        }
        answer = await self._network.post(url, body.encode(), headers)
        stream = ET.fromstring(answer.body).find("Connect/Stream")
        assert stream is not None, answer
        path = stream.get("url", "").partition(HOST)[2]
        parameters = {
            each.get("name", ""): each.get("value", "") for each in stream.findall("Parameter")
        }
        return f"ws://127.0.0.1:{self._phone.port}{path}", parameters

    async def talk(self) -> None:
        """Send everybody's frames, evenly spread over each 20 ms, until `quiet`."""
        loop = asyncio.get_running_loop()
        gap, began, sent = FRAME_S / len(self.calls), loop.time(), 0
        while self._is_talking:
            elapsed = loop.time() - began
            due = int(elapsed / gap) + 1
            if elapsed - sent * gap > 0.01 and self.calls[0].is_counted:
                self.heard.late_frames += due - sent
            for number in range(sent, due):
                self.calls[number % len(self.calls)].say()
            sent = due
            await asyncio.sleep(0.001)

    def count(self, *, counts: bool) -> None:
        """Begin, or stop, to count what is heard."""
        for call in self.calls:
            call.is_counted = counts

    async def close(self) -> None:
        """Hang up everywhere."""
        self._is_talking = False
        for call in self.calls:
            call.hang_up()
        await self._network.close()
