"""One call: receive, decide, act, re-arm. The thin shell around `core/session.py`.

Everything that reaches a session passes through `Call.tell`, and everything it wants passes through
`Call._do`; so the flight recorder sits at one place, and a call that fails ends here and nowhere else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from getpatter.audio.convert import Converter, converter
from getpatter.carriers.base import (
    AudioReceived,
    KeyReceived,
    MarkReturned,
    MediaWire,
    StreamComplained,
    StreamStarted,
    StreamStopped,
    WireEvent,
)
from getpatter.core import messages as m
from getpatter.core.history import History
from getpatter.core.playout import Playout
from getpatter.core.turns import Floor
from getpatter.errors import WireError
from getpatter.runtime import clock
from getpatter.runtime.caller_path import CallerPath
from getpatter.runtime.detector import SharedDetector
from getpatter.runtime.keypad import KeyEntry
from getpatter.runtime.later_stream import LaterStream
from getpatter.runtime.local_recording import LocalRecording
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.runtime.wheel import PacingWheel
from getpatter.tracebacks import without_text
from getpatter.types import PCM16_8K, AudioFormat, Encoding, Instant
from getpatter.vad.silero_batch import Verdict

logger = logging.getLogger(__name__)

BAD_FRAMES: Final = 100
BAD_FRAMES_WITHIN: Final = 10.0
FRAMES_EXPECTED_WITHIN: Final = 30.0
NORMAL, SHUTTING_DOWN, LOST, REFUSED, INTERNAL = 1000, 1001, 1006, 1008, 1011


class Recorder(Protocol):
    """Keeps what crosses the boundary of a call (`runtime/recorder.py`)."""

    def frame_in(self, frame: bytes, at: Instant) -> None:
        """A frame of the carrier arrived."""
        ...

    def frame_out(self, frame: bytes, at: Instant) -> None:
        """A frame was sent to the carrier."""
        ...

    def told(self, event: m.AnyInput, at: Instant) -> None:
        """The session was told something that was not in a carrier's frame."""
        ...

    def resumed(self, started: StreamStarted, at: Instant) -> None:
        """Frames belong to another stream from here on."""
        ...

    def close(self) -> None:
        """The call is over."""
        ...


class Watch(Protocol):
    """Follows the stages of a call. Must return at once, and must not raise."""

    def saw(self, event: m.AnyInput, at: Instant) -> None:
        """The session is about to be told this."""
        ...

    def did(self, command: m.AnyCommand, at: Instant) -> None:
        """The session wants this done."""
        ...


class Listener(Protocol):
    """What the rest of the program wants to know of a running call. Must return at once."""

    def reported(self, command: m.AnyCommand) -> None:
        """A `Report…` or `SayQuiet` of the session."""
        ...

    def hang_up_now(self, reason: m.EndReason) -> None:
        """The carrier must end the call."""
        ...

    def left(self) -> None:
        """The caller is elsewhere; the stream is let go of, the conversation waits."""
        ...

    def finished(self, reason: m.EndReason) -> None:
        """The media part is over; nothing more will be reported."""
        ...


@dataclass(slots=True)
class Counters:
    """What went wrong in small ways."""

    frames_in: int = 0
    frames_dropped: int = 0
    audio_dropped_bytes: int = 0
    _since: list[Instant] = field(default_factory=list)

    def bad_frame(self, now: Instant) -> bool:
        """Count one. True when there were too many of late."""
        self.frames_dropped += 1
        self._since.append(now)
        recent = [at for at in self._since if now - at < BAD_FRAMES_WITHIN]
        self._since = recent
        return len(recent) > BAD_FRAMES


class Brain(Protocol):
    """What decides in a call: `core.session.Session`, or `core.duplex.DuplexSession`. Pure."""

    history: History
    playout: Playout

    @property
    def floor(self) -> Floor:
        """Who may speak."""
        ...

    def handle(self, event: m.AnyInput, now: Instant) -> list[m.AnyCommand]:
        """Take one input; returns what to do, in order."""
        ...

    def deadline(self, now: Instant) -> Instant | None:
        """When `Ticked` is wanted, if nothing else happens before."""
        ...


class Parts(Protocol):
    """The services of one call. Nothing here waits."""

    def hear(self, data: bytes) -> None:
        """The caller's sound, in the carrier's format."""
        ...

    def order(self, command: m.AnyCommand) -> None:
        """Carry out a command that is neither about the stream nor a report."""
        ...

    def room_made(self) -> None:
        """Sound was sent: there is room for more."""
        ...

    def tune(self, stream: AudioFormat) -> None:
        """The caller came back on a stream of this format."""
        ...

    def cancel(self) -> None:
        """The call is over: stop whatever is being made."""
        ...


def input_of(event: WireEvent | None) -> m.AnyInput | None:
    """What a session is told of a carrier's frame; `None`: nothing (audio goes to the ears)."""
    match event:
        case MarkReturned(name=name):
            return m.MarkCame(name)
        case KeyReceived(digit=digit):
            return m.KeyPressed(digit)
        case StreamStopped():
            return m.StreamEnded()
        case _:
            return None


def frame_for(command: m.AnyCommand, wire: MediaWire) -> bytes | None:
    """The frame that carries out a command; `None` when it is not about the stream."""
    match command:
        case m.SendAudio(data=data):
            return wire.audio(data)
        case m.SendMark(name=name):
            return wire.mark(name)
        case m.SendClear():
            return wire.clear()
        case _:
            return None


class Call:
    """The media part of one call, from the accepted stream to its end. A `MediaListener`."""

    def __init__(  # noqa: PLR0913 - the one place where everything of a call meets
        self,
        *,
        socket: MediaSocket,
        wire: MediaWire,
        started: StreamStarted,
        session: Brain,
        wheel: PacingWheel,
        listener: Listener,
        detector: SharedDetector | None,
        began_at: Instant,
        recorder: Recorder | None = None,
        watch: Watch | None = None,
        tape: LocalRecording | None = None,
    ) -> None:
        """Take over a stream that has been admitted. `begin` starts the conversation.

        Args:
            socket: The carrier's WebSocket.
            wire: Its translator, past `StreamStarted`.
            started: What the carrier said about the stream.
            session: Decides everything.
            wheel: The alarm clock of all calls.
            listener: Told of everything that is not audio.
            detector: The built-in voice detector; `None` when the agent brings its own.
            began_at: Now.
            recorder: Keeps a flight recording, if wanted.
            watch: Follows what happens.
            tape: Keeps a recording to listen to, if wanted.
        """
        self.deadline: Instant | None = Instant(began_at + FRAMES_EXPECTED_WITHIN)
        self.was_cut = False  # whether its socket ended without a word
        self.counters = Counters()
        self.session = session
        self._socket = socket
        self._wire = wire
        self._wheel = wheel
        self._listener = listener
        self._recorder = recorder
        self._watch = watch
        self._tape = tape
        self._parts: Parts | None = None
        self._detector = detector
        self._slot: int | None = None
        self._to_8k: Converter | None = None
        self._format = started.format
        self._early: list[bytes] = []
        self._last_frame = began_at
        self.caller_path: CallerPath | None = None
        """What is done to the caller's sound; set by `clean_with`."""
        self.keypad: KeyEntry | None = None
        """Takes the keys that are pressed, instead of the conversation."""
        self._is_over = False
        self._is_away = False
        self._stream_number = 0
        self._is_busy = False
        self._inbox: deque[tuple[m.AnyInput, Instant]] = deque()
        self._has_warned = False
        self._listen(started.format)
        wheel.watch(self)

    def _listen(self, stream: AudioFormat) -> None:
        if self._detector is not None:
            self._slot = self._detector.add(self._detector_encoding(stream), self._heard_voice)

    def _listen_no_more(self) -> None:
        if self._slot is not None and self._detector is not None:
            self._detector.remove(self._slot)
            self._slot = None

    def _detector_encoding(self, stream: AudioFormat) -> Encoding:
        self._to_8k = None
        if stream.sample_rate == PCM16_8K.sample_rate:
            return stream.encoding
        self._to_8k = converter(stream, PCM16_8K)
        return Encoding.PCM16

    @property
    def stream(self) -> AudioFormat:
        """What the carrier's stream carries."""
        return self._format

    def clean_with(self, path: CallerPath | None) -> None:
        """Have the caller's sound cleaned before anybody hears it."""
        self.caller_path = path
        if path is not None:
            path.deliver = self._hear

    def equip(self, make: Callable[[AudioFormat], Parts]) -> None:
        """Give the call its ears, mouth and writer; caller audio that came before is heard now."""
        self._parts = make(self._format)
        for data in self._early:
            self._parts.hear(data)
        self._early.clear()

    # ---------------------------------------------------------------------- carrier -> session

    def received(self, frame: bytes) -> None:
        """One text frame of the carrier, on the call's first stream."""
        if self._stream_number == 0:
            self._receive(frame)

    def dropped(self, reason: str) -> None:
        """The server could not hand a frame on."""
        if self._stream_number == 0:
            self._drop(reason)

    def closed(self, code: int) -> None:
        """The carrier's first socket is gone."""
        self.stream_closed(0, code)

    def stream_closed(self, number: int, code: int) -> None:
        """The socket of stream `number` is gone; whatever became of older ones means nothing."""
        if number == self._stream_number and not self._is_away:
            self.was_cut = code == LOST
            self.tell(m.StreamEnded())

    def _receive(self, frame: bytes) -> None:
        if self._is_away:
            return
        now = clock.now()
        self._last_frame = now
        self.counters.frames_in += 1
        try:
            event: WireEvent | WireError | None = self._wire.receive(frame)
        except WireError as error:
            event = error
        if isinstance(event, KeyReceived) and self.keypad and self.keypad.press(event.digit):
            return  # it is the program's alone: nothing is written down of it
        if self._recorder is not None:
            self._recorder.frame_in(frame, now)
        if isinstance(event, WireError):
            self._bad_frame(str(event), now)
            return
        if isinstance(event, AudioReceived):
            self._heard(event.data, now)
            return
        if isinstance(event, StreamComplained):
            logger.warning("call.stream_complaint text=%s", event.text)
        told = input_of(event)
        if told is not None:
            self._apply(told, now)

    def _heard(self, data: bytes, now: Instant) -> None:
        if self._tape is not None:
            self._tape.heard(self.session.playout.heard_ms(now))
            self._tape.caller(data, now)
        if self.caller_path is None:
            self._hear(data)
        else:
            self.caller_path.hear(data, now)

    def _drop(self, reason: str) -> None:
        self._last_frame = clock.now()
        self._bad_frame(reason, self._last_frame)

    # ------------------------------------------------------------------------------- away and back

    @property
    def is_away(self) -> bool:
        """Whether the caller is elsewhere."""
        return self._is_away

    def come_back(
        self, socket: MediaSocket, wire: MediaWire, started: StreamStarted, note: str
    ) -> MediaListener:
        """The caller is here again, on another stream; `note` says why. Only while `is_away`."""
        now = clock.now()
        self._is_away = False
        self._stream_number += 1
        self._socket, self._wire = socket, wire
        self._last_frame = now
        if self._recorder is not None:
            self._recorder.resumed(started, now)
        if self._tape is not None:
            self._tape.resumed()
        self._listen(started.format)
        if self._parts is not None and started.format != self._format:
            self._parts.tune(started.format)
        self._format = started.format
        if self.caller_path is not None:
            self.caller_path.tune(started.format, now)
        self.tell(m.CameBack(note, started.format))
        return LaterStream(self, self._stream_number)

    def _leave(self) -> None:
        self._is_away = True
        self._listen_no_more()
        self._socket.close(NORMAL)
        self._listener.left()

    def frame_of(self, number: int, frame: bytes) -> None:
        """One text frame of stream `number`."""
        if number == self._stream_number:
            self._receive(frame)

    def drop_of(self, number: int, reason: str) -> None:
        """A frame of stream `number` could not be handed on."""
        if number == self._stream_number:
            self._drop(reason)

    def _bad_frame(self, reason: str, now: Instant) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("call.frame_dropped reason=%s", reason)
        if self.counters.bad_frame(now):
            self._socket.close(REFUSED, "Too many malformed frames")
            self.tell(m.StreamEnded("carrier_error"))

    def _hear(self, data: bytes) -> None:
        if self._slot is not None and self._detector is not None:
            self._detector.push(self._slot, self._to_8k.convert(data) if self._to_8k else data)
        if self._parts is not None:
            self._parts.hear(data)
        else:
            # Bounded by the 10 s that `on_call_start` may take: 500 frames of 20 ms.
            self._early.append(data)
            del self._early[:-500]

    def _heard_voice(self, verdict: Verdict) -> None:
        self.tell(m.Voiced(verdict.probability, verdict.powers, verdict.brightness))

    # --------------------------------------------------------------------- everything -> session

    def tell(self, event: m.AnyInput) -> None:
        """Tell the session something, and do what it answers. After the end: nothing."""
        now = clock.now()
        if self._recorder is not None and not self._is_over:
            self._recorder.told(event, now)
        self._apply(event, now)

    def _apply(self, event: m.AnyInput, now: Instant) -> None:
        self._inbox.append((event, now))
        if self._is_busy:
            # Told from inside a command: its turn comes when the commands before it are done.
            return
        self._is_busy = True
        try:
            while self._inbox and not self._is_over:
                event, at = self._inbox.popleft()
                if self._watch is not None:
                    self._watch.saw(event, at)
                for command in self.session.handle(event, at):
                    if self._watch is not None:
                        self._watch.did(command, at)
                    self._do(command, at)
        finally:
            self._is_busy = False
        if not self._is_over:
            self.deadline = self._next_deadline(now)
            self._wheel.rearm(self)

    def _next_deadline(self, now: Instant) -> Instant | None:
        due = self.session.deadline(now)
        if self._is_away:
            return due
        silent_limit = Instant(self._last_frame + FRAMES_EXPECTED_WITHIN)
        return silent_limit if due is None else min(due, silent_limit)

    def tick(self, now: Instant) -> None:
        """The wheel says that the deadline has come."""
        if not self._is_away and now >= self._last_frame + FRAMES_EXPECTED_WITHIN:
            self.tell(m.StreamEnded("carrier_error"))
            return
        self.tell(m.Ticked())

    def failed(self, error: Exception) -> None:
        """Something of ours broke; this call ends, no other notices."""
        logger.error("call.failed error=%s", type(error).__name__, exc_info=without_text(error))
        self.deadline = None
        if not self._is_over:
            self._finish("carrier_error")

    # ---------------------------------------------------------------------- session -> everything

    def _do(self, command: m.AnyCommand, now: Instant) -> None:
        match command:
            case m.SendAudio() | m.SendMark() | m.SendClear():
                self._send(command, now)
            case (
                m.ReportLine()
                | m.ReportPartial()
                | m.ReportInterruption()
                | m.ReportSpeech()
                | m.ReportTurnBegan()
                | m.ReportTurn()
                | m.SayQuiet()
            ):
                self._listener.reported(command)
            case m.LeaveStream():
                self._leave()
            case m.HangUp(reason=reason):
                self._listener.hang_up_now(reason)
            case m.Finish(reason=reason):
                self._finish(reason)
            case _:
                if self._parts is not None:
                    self._parts.order(command)

    def _send(self, command: m.AnyCommand, now: Instant) -> None:
        frame = frame_for(command, self._wire)
        if frame is None or self._is_away:
            return
        self._socket.send(frame)
        if self._recorder is not None:
            self._recorder.frame_out(frame, now)
        if self.caller_path is not None:
            self.caller_path.played(command, now)
        if self._tape is not None:
            self._tape_what(command, now)
        if self._parts is not None:
            self._parts.room_made()

    def _tape_what(self, command: m.AnyCommand, now: Instant) -> None:
        assert self._tape is not None, "asked before"
        heard_ms = self.session.playout.heard_ms(now)
        match command:
            case m.SendAudio(data=data):
                self._tape.sent(data, heard_ms, now)
            case m.SendClear():
                self._tape.cleared(heard_ms)
            case _:
                pass

    def _finish(self, reason: m.EndReason) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.deadline = None
        self._wheel.forget(self)
        self._listen_no_more()
        if self._recorder is not None:
            self._recorder.close()
        if self._tape is not None:
            now = clock.now()
            self._tape.close(self.session.playout.heard_ms(now), now)
        if self._parts is not None:
            self._parts.cancel()
        self._listener.finished(reason)

    @property
    def is_over(self) -> bool:
        """Whether the media part has ended."""
        return self._is_over

    @property
    def recording_path(self) -> str:
        """Where the recording of this call is; empty when there is none."""
        return self._tape.path if self._tape is not None else ""

    async def taped(self) -> None:
        """Wait until the recording of this call is complete, a few seconds at most."""
        if self._tape is not None:
            await self._tape.finished()

    def close_socket(self, code: int, reason: str = "") -> None:
        """Send a close frame to the carrier."""
        self._socket.close(code, reason)
