"""What was said and heard on one call as a stereo WAV: the caller left, the agent right **as played**.

The loop only notes what crossed it: pieces of the caller's audio as they come, pieces of the agent's audio once
the playout says that they were heard. Converting and writing happen in a thread, once a second, two seconds
behind the call, so that a late frame still finds its place:

```
left    one stretch; silence where the carrier sent nothing for more than a second
right   runs of speech, each beginning when its first sound left and lasting without a gap until
        it has been heard or was interrupted; what a `clear` dropped is in no run
```

A file that is killed with its process has a header that is right up to the last second. A disk that is full, or
too slow, costs the rest of the recording, never the call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from getpatter import config
from getpatter.audio.convert import Converter, converter
from getpatter.observability.call_log import call_folder, make_private, safe_name
from getpatter.types import PCM16_16K, AudioFormat, Instant

if TYPE_CHECKING:
    from getpatter.audio.wav import WavWriter

logger = logging.getLogger(__name__)

WRITE_EVERY: Final = 1.0
BEHIND: Final = 2.0
"""Seconds between the call and what is written."""
LATE: Final = 1.0
"""Seconds without a frame of the caller that count as silence; a shorter stall is caught up with."""
MOST_WAITING: Final = 30
"""Pieces of a second that may wait for the disk before the recording is given up."""
FINISHED_WITHIN: Final = 5.0
_FILE: Final = "recording.wav"
_BYTES_PER_MS: Final = 32

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="getpatter-wav")


@dataclass(frozen=True, slots=True)
class RecordingPlace:
    """Where the recordings of a server are kept."""

    root: Path
    """Of persisted calls, or the directory that was named."""
    is_flat: bool = False
    """One file a call in `root` itself, instead of one in the directory of each call."""

    @classmethod
    def of(cls, wanted: object, persist_root: Path | None) -> RecordingPlace | None:
        """What `local_recording=` means; `None`: nothing is recorded.

        `True` is `recording.wav` beside the other files of a call, in the platform's directory where calls are not
        persisted. A directory gets one file a call, named after it.

        Raises:
            TypeError: it is neither a bool nor a path.
            ValueError: it is an empty path.
        """
        if wanted is False or wanted is None:
            return None
        if wanted is True:
            return cls(persist_root if persist_root is not None else config.platform_data_dir())
        if not isinstance(wanted, str | os.PathLike):
            raise TypeError(
                f"local_recording must be a bool or a directory, not {type(wanted).__name__}"
            )
        text = os.fspath(wanted)
        if not isinstance(text, str) or not text.strip():
            raise ValueError("local_recording is an empty path: pass True or a directory")
        return cls(Path(text).expanduser(), is_flat=True)

    def path(self, call_id: str, started_at: float) -> Path:
        """The file of one call that began at this Unix time."""
        if self.is_flat:
            return self.root / f"{safe_name(call_id)}.wav"
        return call_folder(self.root, call_id, started_at) / _FILE


class LocalRecording:
    """The recording of one call. Every method but `finished` returns at once; instants never go back."""

    def __init__(self, path: Path, stream: AudioFormat, began_at: Instant) -> None:
        """Both sides are in the format of `stream`; the recording's first sample is at `began_at`.

        The file is made when there is a second of sound, or the call is over.
        """
        self._desk = _Desk(path, stream)
        self._stream = stream
        self._began_at = began_at
        self._caller_until = began_at
        self._unheard = bytearray()
        self._heard_bytes = 0
        self._cursor_ms = 0.0
        self._is_new_run = True
        self._notes: list[_Note] = []
        self._next_write = began_at + WRITE_EVERY
        self._is_over = False

    @property
    def path(self) -> str:
        """Where the file is; empty when nothing could be written."""
        return str(self._desk.path) if self._desk.has_file else ""

    def caller(self, data: bytes, now: Instant) -> None:
        """Audio of the caller arrived."""
        lasts = self._stream.ms(len(data)) / 1000
        missing = now - lasts - self._caller_until
        is_first = self._caller_until == self._began_at
        if missing > LATE or (is_first and missing > 0):
            pause = self._stream.size(missing * 1000) // self._stream.bytes_per_sample
            self._notes.append(_Said(self._stream.silence * pause))
            self._caller_until = Instant(self._caller_until + missing)
        self._notes.append(_Said(data))
        self._caller_until = Instant(self._caller_until + lasts)
        if now >= self._next_write:
            self._write(now)

    def sent(self, data: bytes, heard_ms: float, now: Instant) -> None:
        """Audio of the agent was sent; `heard_ms` is how far the caller's ear is on it."""
        self.heard(heard_ms)
        if not self._unheard:  # after a pause: it is heard from now on
            self._cursor_ms = max(self._cursor_ms, (now - self._began_at) * 1000)
            self._is_new_run = True
        self._unheard += data

    def heard(self, heard_ms: float) -> None:
        """How far the caller's ear is on the agent's audio."""
        new = self._stream.size(heard_ms) - self._heard_bytes
        if new <= 0:
            return
        self._heard_bytes += new
        data = bytes(self._unheard[:new])
        if not data:
            return
        del self._unheard[:new]
        self._notes.append(_Heard(data, self._cursor_ms, begins=self._is_new_run))
        self._is_new_run = False
        self._cursor_ms += self._stream.ms(len(data))

    def cleared(self, heard_ms: float) -> None:
        """What was not heard up to now will not be heard."""
        self.heard(heard_ms)
        self._unheard.clear()

    def resumed(self) -> None:
        """Another stream of the same format begins: positions on it count from its own start."""
        self._heard_bytes = 0

    def close(self, heard_ms: float, now: Instant) -> None:
        """The stream is over."""
        self.cleared(heard_ms)
        self._is_over = True
        self._write(now)

    def _write(self, now: Instant) -> None:
        self._next_write = now + WRITE_EVERY
        notes, self._notes = self._notes, []
        passed_ms = (now - self._began_at) * 1000
        if self._is_over:
            self._desk.take(notes, passed_ms, is_last=True)
        else:
            self._desk.take(notes, passed_ms - BEHIND * 1000)

    async def finished(self) -> None:
        """Wait until the file is complete, 5 s at most."""
        await self._desk.finished()


@dataclass(frozen=True, slots=True)
class _Said:
    data: bytes


@dataclass(frozen=True, slots=True)
class _Heard:
    data: bytes
    at_ms: float
    begins: bool


_Note = _Said | _Heard


class _Desk:
    """Writes one file, piece after piece, each in a thread. Made and used on the loop."""

    def __init__(self, path: Path, stream: AudioFormat) -> None:
        self.path = path
        self.has_file = False
        self._tape = _Tape(path, stream)
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._is_running = False
        self._done: asyncio.Future[None] | None = None
        self._has_failed = False

    def take(self, notes: list[_Note], until_ms: float, *, is_last: bool = False) -> None:
        if self._has_failed:
            return
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                self._fail("the disk is too slow")
                return
            self._waiting.append(lambda: self._tape.put(notes, until_ms, is_last=is_last))
            if not self._is_running:
                self._is_running = True
                self._done = asyncio.get_running_loop().run_in_executor(_threads, self._work)

    def _work(self) -> None:
        """In a thread: whatever waits, in order."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    if self._has_failed:
                        self._tape.abandon()
                    return
                piece = self._waiting.popleft()
            try:
                piece()
            except OSError as error:
                with self._lock:
                    self._fail(error.strerror or type(error).__name__)
                    self._is_running = False
                self._tape.abandon()
                return
            self.has_file = True

    def _fail(self, reason: str) -> None:
        self._has_failed = True
        self._waiting.clear()
        logger.error("call.local_recording_failed reason=%s", reason)

    async def finished(self) -> None:
        if self._done is not None:
            await asyncio.wait({self._done}, timeout=FINISHED_WITHIN)


class _Tape:
    """The file and what will be in it next. Used by one thread at a time."""

    def __init__(self, path: Path, stream: AudioFormat) -> None:
        self._path = path
        self._stream = stream
        self._file: BinaryIO | None = None
        self._writer: WavWriter | None = None
        self._left = bytearray()
        self._right = bytearray()
        self._written_ms = 0.0
        self._from_caller: Converter = converter(stream, PCM16_16K)
        self._from_agent: Converter = converter(stream, PCM16_16K)

    def put(self, notes: list[_Note], until_ms: float, *, is_last: bool) -> None:
        for note in notes:
            match note:
                case _Said(data=data):
                    self._left += self._from_caller.convert(data)
                case _Heard():
                    self._hear(note)
        if is_last:
            self._left += self._from_caller.flush()
            self._right += self._from_agent.flush()
        size = max(0, int(until_ms - self._written_ms)) * _BYTES_PER_MS
        self._write(size)
        if is_last:
            self._finish()

    def _hear(self, note: _Heard) -> None:
        if note.begins:
            self._right += self._from_agent.flush()
            # Of what was written already nothing changes: a run that comes too late for its place begins at once.
            gap = int(note.at_ms - self._written_ms) * _BYTES_PER_MS - len(self._right)
            self._right += bytes(max(0, gap))
        self._right += self._from_agent.convert(note.data)

    def _write(self, size: int) -> None:
        writer = self._opened()
        if not size:
            return
        left, right = bytes(self._left[:size]), bytes(self._right[:size])
        del self._left[:size], self._right[:size]
        writer.write_stereo(left.ljust(size, b"\0"), right)
        self._written_ms += size / _BYTES_PER_MS

    def _opened(self) -> WavWriter:
        from getpatter.audio.wav import WavWriter  # noqa: PLC0415 - loads numpy, where calls are recorded only

        if self._writer is None:
            make_private(self._path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb")
            self._path.chmod(0o600)  # of an older file of the same name
            self._writer = WavWriter(self._file, PCM16_16K.sample_rate)
        return self._writer

    def _finish(self) -> None:
        assert self._writer is not None, "the last piece was written"
        assert self._file is not None, "the writer writes to it"
        self._writer.finish()
        self._file.close()

    def abandon(self) -> None:
        """The disk will not have it."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
