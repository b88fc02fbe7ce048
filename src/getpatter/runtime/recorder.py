r"""A call's flight recording: everything that crossed its boundary, with the instants, one JSON array a line.

```
{"flight": 1, "carrier": ..., "started": {...}, "manners": {...}, "began_at": ..., "wall_offset": ...}
["in", 12.345, "{\"event\":\"media\", ...}"]     a frame of the carrier
["told", 12.351, {"type": "Transcribed", ...}]      anything else the session was told
["out", 12.352, "{\"event\":\"media\", ...}"]    a frame sent to the carrier
["stream", 61.7, {...}]                          the caller came back on another stream
```

Fed to a fresh session in the same order at the same instants, the inputs give the outputs again, byte for byte
(`runtime/replay.py`). The file holds what was said and heard: it is written 0600 and is nobody else's.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from getpatter.carriers.base import StreamStarted
from getpatter.core import messages as m
from getpatter.core.engine_manners import EngineManners
from getpatter.core.manners import Manners
from getpatter.types import Instant

VERSION: Final = 1
FLUSH_BYTES: Final = 64 * 1024
_SAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


def _plain(value: object) -> str:
    """A text of a class of its own, such as a default, is written as any other."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"a flight recording cannot hold a {type(value).__name__}")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_files = ThreadPoolExecutor(max_workers=1, thread_name_prefix="getpatter-flight")
"""Disk work of all recordings, in order, off the event loop."""


class Header(msgspec.Struct, frozen=True):
    """The first line: what a fresh session must be made with."""

    flight: int
    carrier: str
    started: StreamStarted
    manners: Manners
    began_at: float
    wall_offset: float
    engine: EngineManners | None = None
    """Of a call with a speech-to-speech engine."""


class FlightRecorder:
    """Writes one call's flight recording."""

    def __init__(self, path: Path, header: Header) -> None:
        """Begin a file; an older one of the same name is replaced."""
        self.path = path
        self._lines: list[bytes] = [_encode(header)]
        self._size = 0
        _files.submit(_create, path)

    @classmethod
    def begin(  # noqa: PLR0913 - the header's own fields
        cls,
        folder: Path,
        call_id: str,
        *,
        carrier: str,
        started: StreamStarted,
        manners: Manners,
        began_at: Instant,
        wall_offset: float,
        engine: EngineManners | None = None,
    ) -> FlightRecorder:
        """Begin the recording of a call in `folder`, named after the call. The token is not kept."""
        public = StreamStarted(started.stream_id, started.call_id, started.format)
        header = Header(VERSION, carrier, public, manners, began_at, wall_offset, engine)
        name = _SAFE.sub("_", call_id)[:64]
        return cls(folder / f"{name}.flight.jsonl", header)

    def frame_in(self, frame: bytes, at: Instant) -> None:
        """A frame of the carrier arrived."""
        self._add(("in", at, frame.decode("utf-8", "replace")))

    def frame_out(self, frame: bytes, at: Instant) -> None:
        """A frame was sent to the carrier."""
        self._add(("out", at, frame.decode("utf-8", "replace")))

    def told(self, event: m.AnyInput, at: Instant) -> None:
        """The session was told something."""
        self._add(("told", at, event))

    def resumed(self, started: StreamStarted, at: Instant) -> None:
        """Frames belong to another stream from here on. Its token is not kept."""
        self._add(("stream", at, StreamStarted(started.stream_id, started.call_id, started.format)))

    def _add(self, line: tuple[str, float, object]) -> None:
        encoded = _encode(line)
        self._lines.append(encoded)
        self._size += len(encoded)
        if self._size >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"\n".join(self._lines) + b"\n"
        self._lines, self._size = [], 0
        _files.submit(_append, self.path, data)

    def close(self) -> None:
        """The call is over: write the rest."""
        if self._lines:
            self._flush()

    @staticmethod
    def written() -> None:
        """Wait until everything handed over so far is on disk. Blocks: not for the event loop."""
        _files.submit(lambda: None).result()


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"):
        pass


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
