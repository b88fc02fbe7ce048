"""Runs a flight recording again, in no time, and compares what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from getpatter.carriers import resumed_wire
from getpatter.carriers.base import MediaWire, StreamStarted
from getpatter.core import messages as m
from getpatter.core.duplex import DuplexSession
from getpatter.core.session import Session
from getpatter.errors import PatterConfigError, WireError
from getpatter.runtime.background import bed_for
from getpatter.runtime.call import frame_for, input_of
from getpatter.runtime.recorder import VERSION, Header
from getpatter.types import Instant

_Line = tuple[str, float, msgspec.Raw]
_decode_header: Final = msgspec.json.Decoder(Header).decode
_decode_line: Final = msgspec.json.Decoder(_Line).decode
_decode_input: Final = msgspec.json.Decoder(m.AnyInput).decode
_decode_stream: Final = msgspec.json.Decoder(StreamStarted).decode
_decode_frame: Final = msgspec.json.Decoder(str).decode


@dataclass(slots=True)
class Replay:
    """What came out of a flight that was run again."""

    lasted_seconds: float = 0.0
    inputs: int = 0
    frames_recorded: list[bytes] = field(default_factory=list)
    frames_replayed: list[bytes] = field(default_factory=list)
    lines: list[m.ReportLine] = field(default_factory=list)
    understood: list[m.Transcribed] = field(default_factory=list)
    """What the recogniser said in the end, in order."""

    @property
    def first_difference(self) -> int | None:
        """Index of the first outgoing frame that differs; `None`: byte for byte the same."""
        pairs = zip(self.frames_recorded, self.frames_replayed, strict=False)
        for index, (recorded, replayed) in enumerate(pairs):
            if recorded != replayed:
                return index
        if len(self.frames_recorded) != len(self.frames_replayed):
            return min(len(self.frames_recorded), len(self.frames_replayed))
        return None


def read_header(path: Path) -> Header:
    """The first line of a recording.

    Raises:
        PatterConfigError: it is no flight recording, or of another version.
    """
    try:
        with path.open("rb") as file:
            header = _decode_header(file.readline())
    except (OSError, msgspec.DecodeError) as error:
        raise PatterConfigError(f"{path} is not a flight recording: {error}") from error
    if header.flight != VERSION:
        raise PatterConfigError(
            f"{path} is a flight recording of version {header.flight}, not {VERSION}"
        )
    return header


def replay(path: Path, wire: MediaWire) -> Replay:
    """Run the recording at `path` again. `wire`: a fresh one of the header's carrier, resumed at its stream.

    Raises:
        PatterConfigError: it is no flight recording.
    """
    header = read_header(path)
    session = _session(header)
    result = Replay()
    for kind, at, raw in _lines(path):
        result.lasted_seconds = at - header.began_at
        if kind == "stream":
            wire = resumed_wire(header.carrier, _decode_stream(raw))
            continue
        if kind == "out":
            result.frames_recorded.append(_decode_frame(raw).encode())
            continue
        event = _input(kind, raw, wire)
        if event is None:
            continue
        result.inputs += 1
        if isinstance(event, m.Opened) and event.manners is not None:
            stream = session.playout.format
            session.playout.bed = bed_for(event.manners.background, stream)
        if isinstance(event, m.Transcribed) and event.is_final:
            result.understood.append(event)
        for command in session.handle(event, Instant(at)):
            frame = frame_for(command, wire)
            if frame is not None:
                result.frames_replayed.append(frame)
            elif isinstance(command, m.ReportLine):
                result.lines.append(command)
    return result


def _session(header: Header) -> Session | DuplexSession:
    stream, began_at = header.started.format, Instant(header.began_at)
    if header.engine is not None:
        return DuplexSession(
            stream,
            header.manners,
            header.engine,
            began_at=began_at,
            wall_offset=header.wall_offset,
        )
    return Session(stream, header.manners, began_at=began_at, wall_offset=header.wall_offset)


def _lines(path: Path) -> Iterator[_Line]:
    with path.open("rb") as file:
        file.readline()
        for line in file:
            try:
                yield _decode_line(line)
            except msgspec.DecodeError:
                return  # the process was killed while it wrote this line


def _input(kind: str, raw: msgspec.Raw, wire: MediaWire) -> m.AnyInput | None:
    if kind == "told":
        told: m.AnyInput = _decode_input(raw)
        return told
    try:
        return input_of(wire.receive(_decode_frame(raw).encode()))
    except WireError:
        return None
