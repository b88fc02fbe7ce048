"""A program under test for simulated carriers: it greets, and answers every utterance after a fixed pause."""

from __future__ import annotations

from getpatter.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from getpatter.carriers.base import (
    AudioReceived,
    CallArrived,
    Carrier,
    KeyReceived,
    MarkReturned,
    MediaWire,
    Stream,
    StreamStarted,
    StreamStopped,
    TransferOver,
    WebhookEvent,
)
from getpatter.net.messages import WebhookReply
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.testing.callers import syllables
from getpatter.testing.line import Ear

HOST = "agent.example"
GREETING = pcm16_to_mulaw(syllables(6, seed=11))
ANSWER = pcm16_to_mulaw(syllables(5, seed=12))
THINKS_MS = 240


class Parrot:
    """One call: greets, listens, answers, and lets itself be interrupted."""

    def __init__(self, wire: MediaWire, socket: MediaSocket, *, hangs_up_on: str = "") -> None:
        self._wire = wire
        self._socket = socket
        self._hangs_up_on = hangs_up_on
        self._ear = Ear(8000)
        self._answered = True
        self.marks: list[str] = []
        self.keys: list[str] = []
        self.closed_with: int | None = None
        self.has_stopped = 0
        self._say(GREETING, "greeting")

    def received(self, frame: bytes) -> None:
        match self._wire.receive(frame):
            case AudioReceived(data=data):
                self._hear(data)
            case MarkReturned(name=name):
                self.marks.append(name)
            case KeyReceived(digit=digit):
                self.keys.append(digit)
                if digit == self._hangs_up_on:
                    self._socket.close(1000)
            case StreamStopped():
                self.has_stopped += 1
            case _:
                pass

    def dropped(self, reason: str) -> None:
        raise AssertionError(reason)

    def closed(self, code: int) -> None:
        self.closed_with = code

    def _hear(self, data: bytes) -> None:
        if self._ear.listen(mulaw_to_pcm16(data)):
            if self._answered:
                self._socket.send(self._wire.clear())
            self._answered = False
        elif not self._answered and self._ear.silent_ms() >= THINKS_MS:
            self._answered = True
            self._say(ANSWER, "answer")

    def _say(self, sound: bytes, name: str) -> None:
        self._socket.send(self._wire.audio(sound))
        self._socket.send(self._wire.mark(name))


class Board:
    """Connects every call to a parrot."""

    is_stopping = False

    def __init__(self, *, hangs_up_on: str = "", is_full: bool = False) -> None:
        self.parrots: list[Parrot] = []
        self.arrived: list[CallArrived] = []
        self.noted: list[WebhookEvent] = []
        self.started: list[StreamStarted] = []
        self._hangs_up_on = hangs_up_on
        self._is_full = is_full

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        self.arrived.append(arrived)
        if self._is_full:
            return None
        return Stream(HOST, arrived.call_id, "the-token", arrived.caller, arrived.callee)

    async def admit(
        self,
        carrier: Carrier,
        wire: MediaWire,
        started: StreamStarted,
        *,
        reference: str,
        token: str,
        socket: MediaSocket,
    ) -> MediaListener | None:
        if token != "the-token":
            return None
        self.started.append(started)
        self.parrots.append(Parrot(wire, socket, hangs_up_on=self._hangs_up_on))
        return self.parrots[-1]

    def is_expected(self, reference: str, token: str) -> bool:
        return token == "the-token"

    def take_back(self, carrier: Carrier, event: TransferOver) -> Stream | None:
        return None

    def fetch(self, reference: str) -> WebhookReply | None:
        """Nothing is kept for the carrier."""
        del reference
        return None

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        self.noted.append(event)
