"""The contract of a carrier's media frames (`getpatter.carriers.base.MediaWire`)."""

from __future__ import annotations

import random  # noqa: TID251 - seeded rubbish, the same in every run
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from getpatter.carriers.base import (
    AudioReceived,
    KeyReceived,
    MarkReturned,
    MediaWire,
    StreamStarted,
    StreamStopped,
    WireEvent,
)
from getpatter.errors import WireError
from getpatter.testing.contracts.check import BrokenPromiseError, Check, require

NewWire = Callable[[], MediaWire]

_PIECES: Final = 300
_RUBBISH: Final = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b"0",
    b'""',
    b"{",
    b'{"event":null}',
    b'{"event":7}',
    b'{"event":{}}',
    b"\xff\xfe",
    b'{"event":"\xff"}',
    b"\x00" * 16,
    b"[" * 100_000,
    b'{"event":' * 20_000,
    b"9" * 10_000,
)


@dataclass(frozen=True, slots=True)
class WireSample:
    """Frames as the carrier really sends them, and what they mean."""

    start: Sequence[bytes]
    """Every frame from the opening of the socket up to the one that starts the stream."""
    started: StreamStarted
    """What these frames say."""
    audio: bytes
    """A frame of the caller's audio."""
    sound: bytes = field(repr=False)
    """The audio in it, as it must arrive: in the format of the stream, without any header."""
    stop: bytes
    """The frame that ends the stream."""
    mark: bytes = b""
    """The frame that returns a mark; empty where the carrier has none."""
    mark_name: str = ""
    key: bytes = b""
    """The frame of a key that was pressed; empty where keys do not come this way."""
    digit: str = ""
    ignored: Sequence[bytes] = ()
    """Frames that mean nothing to a call."""
    played: Callable[[bytes], bytes] | None = None
    """Takes an audio frame of ours apart as the carrier would; `None`: outgoing audio is not compared."""
    shortest_ms: float = 0.0
    """The carrier takes no less in one frame: shorter audio is filled up to it with silence."""


def wire_checks(new_wire: NewWire, sample: WireSample) -> list[Check]:
    """The promises of a wire. `new_wire` makes one for each socket."""
    contract = _Contract(new_wire, sample)
    return [
        Check(
            "start",
            "the frames up to the start give one StreamStarted, and `format` is what it says; a call is built on it",
            contract.start,
        ),
        Check(
            "audio in",
            "the caller's audio arrives byte for byte; a header or a lost sample is a click in the recogniser's ear",
            contract.audio_in,
        ),
        Check(
            "stop",
            "the end of the stream is told; else the call hangs until a timeout",
            contract.stop,
        ),
        Check(
            "marks",
            "a returned mark keeps its name; it says what the caller has heard",
            contract.marks,
        ),
        Check("keys", "a pressed key arrives; menus live on it", contract.keys),
        Check("other frames", "frames that mean nothing are None, not errors", contract.others),
        Check(
            "rubbish",
            "what breaks the protocol raises WireError and nothing else; any other exception ends the call",
            contract.rubbish,
        ),
        Check(
            "audio out",
            "outgoing audio of any length is one text frame that holds exactly these bytes, filled up with silence "
            "to what the carrier takes at least",
            contract.audio_out,
        ),
        Check(
            "sockets apart",
            "a wire remembers its own socket only; state shared in a class mixes up two callers",
            contract.apart,
        ),
        Check(
            "same again",
            "the same frames in give the same frames out, with no clock and no dice; recordings are replayed so",
            contract.same,
        ),
        Check(
            "resume",
            "`resume(started)` stands where the start would have led; that is how a recording is run again",
            contract.resume,
        ),
    ]


class _Contract:
    def __init__(self, new_wire: NewWire, sample: WireSample) -> None:
        self._new = new_wire
        self._sample = sample

    def _started(self) -> MediaWire:
        wire = self._new()
        for frame in self._sample.start:
            wire.receive(frame)
        return wire

    def _expect(self, frame: bytes, expected: WireEvent | None) -> None:
        event = self._started().receive(frame)
        require(event == expected, f"the frame was read as {event!r}, not as {expected!r}")

    # ------------------------------------------------------------------------------------- promises

    def start(self) -> None:
        wire = self._new()
        events = [
            event for frame in self._sample.start if (event := wire.receive(frame)) is not None
        ]
        wanted = self._sample.started
        require(
            len(events) == 1 and isinstance(events[0], StreamStarted),
            f"the start was read as {[type(event).__name__ for event in events]}",
        )
        require(events[0] == wanted, f"the start says {events[0]!r}, not {wanted!r}")
        require(
            isinstance(events[0], StreamStarted) and dict(events[0].params) == dict(wanted.params),
            "the custom parameters of the stream are not those of the sample",
        )
        require(wire.format == wanted.format, f"format is {wire.format}, not {wanted.format}")

    def audio_in(self) -> None:
        event = self._started().receive(self._sample.audio)
        require(isinstance(event, AudioReceived), f"audio was read as {type(event).__name__}")
        assert isinstance(event, AudioReceived), "just required"
        require(
            event.data == self._sample.sound,
            f"{len(event.data)} bytes arrived, and they are not the {len(self._sample.sound)} that were sent",
        )

    def stop(self) -> None:
        self._expect(self._sample.stop, StreamStopped())

    def marks(self) -> None:
        if self._sample.mark:
            self._expect(self._sample.mark, MarkReturned(self._sample.mark_name))
        wire = self._started()
        names = ["p1", "p2", 'with "quotes" and \\', "größe"]
        frames = [wire.mark(name) for name in names]
        _require_text(frames)
        require(len(set(frames)) == len(names), "marks of different names give equal frames")

    def keys(self) -> None:
        if self._sample.key:
            self._expect(self._sample.key, KeyReceived(self._sample.digit))

    def others(self) -> None:
        for frame in self._sample.ignored:
            self._expect(frame, None)

    def rubbish(self) -> None:
        for frame in self._broken_frames():
            wire = self._started()
            try:
                wire.receive(frame)
            except WireError:
                pass
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise BrokenPromiseError(f"{frame[:80]!r} raised {what[:200]}") from error

    def _broken_frames(self) -> Iterator[bytes]:
        yield from _RUBBISH
        sample = self._sample
        dice = random.Random(1)  # noqa: S311 - rubbish, not secrets
        whole = [
            f for f in (*sample.start, sample.audio, sample.mark, sample.key, sample.stop) if f
        ]
        for frame in whole:
            yield frame[: len(frame) // 2]
            yield frame.replace(b'"', b"'")
            yield frame.replace(b":", b":[", 1)
            yield frame.replace(b'":"', b'":1,"was":"')
            yield frame.replace(b'":"', b'":null,"was":"')
            yield frame.replace(b":{", b":[],") + b"}"
        for _ in range(_PIECES):
            spoilt = bytearray(dice.choice(whole))
            for _ in range(dice.randint(1, 3)):
                spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
            yield bytes(spoilt)

    def audio_out(self) -> None:
        wire = self._started()
        stream = self._sample.started.format
        unit = stream.bytes_per_sample
        samples_at_least = stream.size(self._sample.shortest_ms) // unit
        for samples in (1, 3, 80, 160, 799, 8000):
            data = bytes(index * 7 % 256 for index in range(samples * unit))
            frame = wire.audio(data)
            _require_text([frame])
            if self._sample.played is not None:
                played = self._sample.played(frame)
                filling = stream.silence * (samples_at_least - samples)
                require(
                    played == data + filling,
                    f"of {len(data)} bytes of audio the frame holds {len(played)}, or others",
                )
        _require_text([wire.clear()])

    def apart(self) -> None:
        first, second = self._started(), self._new()
        written = _all_frames(first)
        second.resume(StreamStarted("another-stream", "another-call", self._sample.started.format))
        require(
            _all_frames(first) == written,
            "a wire writes other frames since a second socket was opened",
        )

    def same(self) -> None:
        first, second = self._started(), self._started()
        require(_all_frames(first) == _all_frames(second), "two runs of one recording differ")

    def resume(self) -> None:
        fresh = self._new()
        fresh.resume(self._sample.started)
        require(fresh.format == self._sample.started.format, "`format` is not that of the stream")
        require(
            _all_frames(fresh) == _all_frames(self._started()),
            "a resumed wire writes other frames than the one that read the start",
        )
        event = fresh.receive(self._sample.audio)
        require(
            isinstance(event, AudioReceived) and event.data == self._sample.sound,
            "a resumed wire does not read audio as the other one does",
        )


def _all_frames(wire: MediaWire) -> list[bytes]:
    return [wire.audio(b"\x01\x02" * 80), wire.mark("p1"), wire.clear()]


def _require_text(frames: Sequence[bytes]) -> None:
    for frame in frames:
        require(isinstance(frame, bytes), f"a frame is {type(frame).__name__}, not bytes")
        try:
            frame.decode()
        except UnicodeDecodeError:
            raise BrokenPromiseError("a frame is not UTF-8, so it cannot be sent as text") from None
