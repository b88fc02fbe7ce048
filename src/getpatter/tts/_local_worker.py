"""The process in which the embedded voice lives: text in on stdin, samples out on stdout.

espeak-ng is licensed under the GPL. It is loaded here and nowhere else; the SDK starts this module with
`python <this file> <library> <data folder>` and talks to it through two pipes, in frames of

```
1 byte kind, 4 bytes job number, 4 bytes length (little-endian), then so many bytes
```

| to the worker | payload |
|---|---|
| `S` say | JSON: `voice`, `rate`, `pitch`, `volume`, `text` |
| `C` cancel | nothing |

| from the worker | payload |
|---|---|
| `R` ready (job 0) | JSON: `sample_rate`, `version` |
| `A` audio | PCM16 mono at `sample_rate` |
| `E` end of the job, always the last frame of it | JSON: `error`, empty when all is well |

Jobs are done one at a time in the order they came, because the library keeps one state for the whole
process; a job is one short piece of text (milliseconds of work), so everybody gets a turn. The process ends
when its stdin does, so it cannot outlive the program that started it.

Only the standard library is imported: the process is up within a few dozen milliseconds.

Interface of the library: https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from struct import Struct
from typing import IO, BinaryIO, Final

FRAME: Final = Struct("<cII")
SAY, CANCEL, READY, AUDIO, END = b"S", b"C", b"R", b"A", b"E"

_SYNCHRONOUS_OUTPUT: Final = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come through the callback
_PIECE_MS: Final = 60
_DONT_EXIT: Final = (
    0x8000  # espeakINITIALIZE_DONT_EXIT: report an error instead of ending the process
)
_RATE, _VOLUME, _PITCH = 1, 2, 3  # espeak_PARAMETER
_UTF8_TEXT: Final = 1  # espeakCHARS_UTF8, and no markup: `<` is a character
_CALLBACK: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True, slots=True)
class Say:
    """One piece of text and how to say it, in the library's own units."""

    text: str
    voice: str
    rate: int
    pitch: int
    volume: int


class Speaker:
    """The library, loaded once; says one thing at a time."""

    def __init__(self, library: str, data: str) -> None:
        """Load `library` (a file) with its `data` (a folder).

        Raises:
            OSError: either cannot be used.
        """
        self._lib = ctypes.CDLL(library)
        self.sample_rate: int = self._lib.espeak_Initialize(
            _SYNCHRONOUS_OUTPUT, _PIECE_MS, data.encode(), _DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise OSError(f"espeak-ng cannot use its data (error {self.sample_rate})")
        self._lib.espeak_Info.restype = ctypes.c_char_p
        self.version = (self._lib.espeak_Info(None) or b"").decode(errors="replace")
        self._take = _CALLBACK(self._taken)  # kept: the library holds only its address
        self._lib.espeak_SetSynthCallback(self._take)
        self._write: Sink | None = None
        self._voice = ""

    def say(self, what: Say, sink: Sink) -> str:
        """Speak into `sink`; returns what went wrong, or an empty string."""
        if what.voice != self._voice:
            if self._lib.espeak_SetVoiceByName(what.voice.encode()) != 0:
                self._voice = ""
                return f"there is no voice {what.voice!r}"
            self._voice = what.voice
        for parameter, value in ((_RATE, what.rate), (_VOLUME, what.volume), (_PITCH, what.pitch)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        text = what.text.encode("utf-8", "replace").replace(b"\0", b" ")
        self._write = sink
        try:
            code = self._lib.espeak_Synth(
                text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8_TEXT, None, None
            )
        finally:
            self._write = None
        return "" if code == 0 or sink.cancelled else f"espeak-ng failed (error {code})"

    def _taken(self, samples: object, count: int, _events: object) -> int:
        """Called by the library for each piece; a 1 stops it."""
        sink = self._write
        if sink is None or sink.cancelled:
            return 1
        if samples and count > 0:
            try:
                sink.write(ctypes.string_at(samples, count * 2))  # type: ignore[arg-type]
            except OSError:  # nobody listens any more; an exception cannot pass through the library
                return 1
        return 0


class Sink:
    """Where the samples of one job go."""

    def __init__(self, out: BinaryIO, job: int) -> None:
        """Write frames of `job` to `out`."""
        self._out = out
        self._job = job
        self.cancelled = False

    def write(self, pcm: bytes) -> None:
        """One piece of sound, sent at once."""
        send(self._out, AUDIO, self._job, pcm)


def send(out: BinaryIO, kind: bytes, job: int, payload: bytes = b"") -> None:
    """Write one frame and flush it."""
    out.write(FRAME.pack(kind, job, len(payload)) + payload)
    out.flush()


def receive(source: IO[bytes]) -> tuple[bytes, int, bytes] | None:
    """Read one frame; `None` at the end of the stream, also within a frame."""
    head = source.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    kind, job, length = FRAME.unpack(head)
    payload = source.read(length)
    return (kind, job, payload) if len(payload) == length else None


class Worker:
    """Reads requests in a thread of their own, so that a cancellation is seen in the middle of a word."""

    def __init__(self, speaker: Speaker, source: BinaryIO, out: BinaryIO) -> None:
        """Serve `source` with `speaker`, answering on `out`."""
        self._speaker = speaker
        self._source = source
        self._out = out
        self._waiting: queue.SimpleQueue[tuple[int, Say] | None] = queue.SimpleQueue()
        self._sinks: dict[int, Sink] = {}

    def run(self) -> None:
        """Work until the other side closes the pipe."""
        ready = {"sample_rate": self._speaker.sample_rate, "version": self._speaker.version}
        send(self._out, READY, 0, json.dumps(ready).encode())
        threading.Thread(target=self._read, daemon=True).start()
        while (request := self._waiting.get()) is not None:
            job, what = request
            sink = self._sinks[job]
            error = "" if sink.cancelled else self._speaker.say(what, sink)
            del self._sinks[job]
            send(self._out, END, job, json.dumps({"error": error}).encode())

    def _read(self) -> None:
        while (frame := receive(self._source)) is not None:
            kind, job, payload = frame
            if kind == SAY:
                self._sinks[job] = Sink(self._out, job)
                self._waiting.put((job, Say(**json.loads(payload))))
            elif kind == CANCEL and (sink := self._sinks.get(job)) is not None:
                sink.cancelled = True
        for sink in list(self._sinks.values()):
            sink.cancelled = True
        self._waiting.put(None)


def main() -> int:
    """Serve the program at the other end of the two pipes until it goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started us
    library, data = sys.argv[1:3]
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing but frames may reach the pipe
    try:
        speaker = Speaker(library, data)
    except OSError as exc:
        send(out, END, 0, json.dumps({"error": str(exc)}).encode())
        return 1
    try:
        Worker(speaker, sys.stdin.buffer, out).run()
    except BrokenPipeError:  # nobody listens any more
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
