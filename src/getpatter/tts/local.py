"""A voice on this machine: no key, no download, no network; the first sound in about a millisecond.

espeak-ng speaks, a formant synthesiser: robotic but clear, and fast enough for hundreds of calls on one
core. It is licensed under the GPL, therefore it runs in a process of its own (`_local_worker.py`), one for
the whole program, and is installed only with the extra `getpatter[offline]`.

```
synthesize("Hello. How are you?")      one call                      the worker process
   "Hello."        --- say --->   SpeakerProcess   --- pipe --->   espeak-ng
   audio, encoded  <-- audio --    (a thread reads)  <--- pipe ---
   "How are you?"  --- say --->                                    (others' sentences in between)
```

A call asks for its next sentence when the one before has been taken, so many calls share the voice fairly,
and at most one sentence of sound waits for each.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import logging
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from getpatter.audio.convert import Converter, converter
from getpatter.errors import PatterConfigError, PatterConnectionError
from getpatter.tts import _local_worker as wire
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat, Encoding

__all__ = ["TTS", "LocalTTS", "speech"]

logger = logging.getLogger(__name__)

_VENDOR: Final = "local"
_START_WITHIN_S: Final = 10.0
_STOP_WITHIN_S: Final = 1.0
_LONGEST_PIECE: Final = 240
"""Characters synthesised in one go: about 15 s of speech, 10 ms of work."""
_SENTENCE: Final = re.compile(r"[^.!?…:;\n]*[.!?…:;\n]+[\"')\]]*\s*|[^.!?…:;\n]+$")
_RATES: Final = range(80, 451)
_PITCHES: Final = range(100)
_VOLUMES: Final = range(201)

Deliver = Callable[[bytes, bytes], None]
"""Takes the kind and the payload of a frame; called in the reading thread."""


class LocalTTS:
    """Speech by espeak-ng, on this machine.

    ```python
    agent = phone.agent(tts=LocalTTS(voice="en-us"), ...)
    ```

    Objects given to an agent are configuration; each call works with a `clone()`. All of them share one
    process, which starts with the first sound (or `warmup()`) and ends with the last `close()` or with the
    program.
    """

    def __init__(
        self,
        *,
        voice: str = "en-us",
        rate: int = 165,
        pitch: int = 50,
        volume: int = 100,
        output_format: AudioFormat | None = None,
    ) -> None:
        """Choose how it sounds.

        Args:
            voice: language and optional variant of espeak-ng: `"en-us"`, `"en-gb-x-rp"`, `"de"`,
                `"en-us+f3"`.
            rate: words per minute, 80 to 450.
            pitch: 0 to 99.
            volume: 0 to 200; more than 100 may distort.
            output_format: what `synthesize` yields; PCM16 at 16 kHz unless given. `MULAW_8K` is what most
                phone calls want.

        Raises:
            ImportError: the extra is not installed.
            ValueError: a value outside its range, or an unknown voice.
        """
        self._files = _voice_files()
        for name, value, allowed in (
            ("rate", rate, _RATES),
            ("pitch", pitch, _PITCHES),
            ("volume", volume, _VOLUMES),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {allowed[0]} to {allowed[-1]}, not {value}")
        self._files.check(voice)
        self.output_format = output_format or PCM16_16K
        self._how = {"voice": voice, "rate": rate, "pitch": pitch, "volume": volume}

    @classmethod
    def for_twilio(
        cls, *, voice: str = "en-us", rate: int = 165, pitch: int = 50, volume: int = 100
    ) -> LocalTTS:
        """As the constructor, speaking mu-law at 8 kHz."""
        return cls(voice=voice, rate=rate, pitch=pitch, volume=volume, output_format=MULAW_8K)

    @classmethod
    def for_telnyx(
        cls, *, voice: str = "en-us", rate: int = 165, pitch: int = 50, volume: int = 100
    ) -> LocalTTS:
        """As the constructor, speaking PCM16 at 16 kHz."""
        return cls(voice=voice, rate=rate, pitch=pitch, volume=volume, output_format=PCM16_16K)

    def __repr__(self) -> str:
        how = ", ".join(f"{name}={value!r}" for name, value in self._how.items())
        return f"LocalTTS({how}, output_format={self.output_format!r})"

    def clone(self, *, output_format: AudioFormat | None = None) -> LocalTTS:
        """The same voice for one more call, in another format if one is given."""
        twin = object.__new__(type(self))
        twin._files = self._files
        twin._how = dict(self._how)
        twin.output_format = output_format or self.output_format
        return twin

    def with_output(self, formats: Sequence[AudioFormat]) -> LocalTTS | None:
        """A clone that speaks the first of `formats`: all of them can be made. `None` for none."""
        return self.clone(output_format=formats[0]) if formats else None

    @property
    def voice_key(self) -> str:
        """Equal for objects that sound the same."""
        return f"{_VENDOR}:" + ":".join(str(value) for value in self._how.values())

    async def warmup(self) -> None:
        """Start the process, so that the first sentence need not wait for it (about 100 ms)."""

        def start() -> None:
            _process.start(self._files, self)
            self._converter().convert(bytes(2))  # works its filter out once

        await asyncio.to_thread(start)

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`; yields pieces of about 60 ms in `output_format`, far faster than they play.

        Closing or cancelling the iterator stops this text within milliseconds and disturbs nobody else.

        Raises:
            PatterConnectionError: the process cannot be started, or failed in the middle.
        """
        stream = None
        for piece in _pieces(text):
            async with aclosing(self._say(piece)) as samples:
                async for pcm in samples:
                    stream = stream or self._converter()
                    if sound := stream.convert(pcm):
                        yield sound
        if stream is not None and (rest := stream.flush()):
            yield rest

    async def close(self) -> None:
        """Stop using the voice; the process ends when nobody uses it any more."""
        await asyncio.to_thread(_process.leave, self)

    def _converter(self) -> Converter:
        return converter(AudioFormat(Encoding.PCM16, _process.sample_rate), self.output_format)

    async def _say(self, piece: str) -> AsyncGenerator[bytes]:
        """The samples of one piece of text; once more from the start if the process dies before any."""
        request = json.dumps({**self._how, "text": piece}).encode()
        for attempt in (1, 2):
            heard = False
            try:
                async with aclosing(self._asked(request)) as samples:
                    async for pcm in samples:
                        heard = True
                        yield pcm
            except _WorkerLostError as exc:
                logger.warning("tts.local.worker_lost attempt=%d", attempt)
                if heard or attempt == 2:  # noqa: PLR2004 - the last one
                    message = "the speech process ended in the middle of a sentence"
                    raise PatterConnectionError(message, vendor=_VENDOR) from exc
            else:
                return

    async def _asked(self, request: bytes) -> AsyncGenerator[bytes]:
        if not _process.serves(self):
            await self.warmup()
        frames: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()  # bounded by the piece of text
        loop = asyncio.get_running_loop()

        def deliver(kind: bytes, payload: bytes) -> None:
            loop.call_soon_threadsafe(frames.put_nowait, (kind, payload))

        job = _process.say(request, deliver)
        done = False
        try:
            while not done:
                with _in_real_time():
                    kind, payload = await frames.get()
                done = kind != wire.AUDIO
                if not done:
                    yield payload
                elif kind == _LOST:
                    raise _WorkerLostError
                elif error := json.loads(payload)["error"]:
                    raise PatterConnectionError(error, vendor=_VENDOR, retryable=False)
        finally:
            if not done:
                _process.cancel(job)


TTS = LocalTTS


def _in_real_time() -> AbstractContextManager[None]:
    """A loop with virtual time (it has a `hold`) must not let its clock run while the process works."""
    hold: Callable[[str], AbstractContextManager[None]] | None = getattr(
        asyncio.get_running_loop(), "hold", None
    )
    return nullcontext() if hold is None else hold("the speech process")


async def speech(
    text: str,
    *,
    voice: str = "en-us+adam",
    rate: int = 165,
    pitch: int = 50,
    volume: int = 100,
    output_format: AudioFormat = PCM16_8K,
) -> bytes:
    """All the sound of `text` at once: a caller for tests and demonstrations.

    The default voice is the one that `LocalSTT` understands best over a phone line.

    Raises:
        ImportError: the extra is not installed.
        ValueError: as for `LocalTTS`.
        PatterConnectionError: the process failed.
    """
    tts = LocalTTS(voice=voice, rate=rate, pitch=pitch, volume=volume, output_format=output_format)
    try:
        return b"".join([sound async for sound in tts.synthesize(text)])
    finally:
        await tts.close()


def _pieces(text: str) -> Iterator[str]:
    """Sentences and clauses of `text`, none longer than the worker should take at once."""
    for match in _SENTENCE.finditer(text):
        rest = match.group().strip()
        while len(rest) > _LONGEST_PIECE:
            cut = rest.rfind(", ", 0, _LONGEST_PIECE) + 1
            cut = cut or rest.rfind(" ", 0, _LONGEST_PIECE)
            cut = cut if cut > 0 else _LONGEST_PIECE
            yield rest[:cut]
            rest = rest[cut:].strip()
        if any(char.isalnum() for char in rest):
            yield rest


@dataclass(frozen=True, slots=True)
class _VoiceFiles:
    """Where the library and its voices are."""

    library: str
    data: Path

    def check(self, voice: str) -> None:
        """Refuse a voice that the library would not find."""
        language, _, variant = voice.partition("+")
        variants = {file.name for file in (self.data / "voices" / "!v").iterdir()}
        if variant and variant not in variants:
            some = ", ".join(sorted(variants)[:8])
            raise ValueError(f"there is no variant {variant!r}: use one of {some} ...")
        languages = {
            file.name.lower() for file in (self.data / "lang").rglob("*") if file.is_file()
        }
        if language.lower() not in languages:
            near = sorted(name for name in languages if name[:2] == language[:2].lower())
            raise ValueError(f"there is no voice {language!r}: use {' or '.join(near) or 'en-us'}")


def _voice_files() -> _VoiceFiles:
    spec = find_spec("espeakng_loader")
    if spec is None or spec.origin is None:
        raise ImportError("LocalTTS needs espeak-ng: pip install 'getpatter[offline]'")
    folder = Path(spec.origin).parent
    name = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}.get(
        sys.platform, "libespeak-ng.so"
    )
    return _VoiceFiles(str(folder / name), folder / "espeak-ng-data")


class _WorkerLostError(Exception):
    """The process ended while it owed sound."""


_LOST: Final = b"L"
"""Delivered to a job in place of its end when the process died."""


class SpeakerProcess:
    """The one process that speaks; started when needed, and usable from every thread and event loop."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.sample_rate = 0
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs: dict[int, Deliver] = {}
        self._numbers = itertools.count(1)
        self._users: weakref.WeakSet[LocalTTS] = weakref.WeakSet()

    def serves(self, user: LocalTTS) -> bool:
        """True while the process runs and counts `user` among its users."""
        process = self._process
        return process is not None and process.poll() is None and user in self._users

    def start(self, files: _VoiceFiles, user: LocalTTS) -> None:
        """Run, if it does not run yet; blocks until it can speak.

        Raises:
            PatterConnectionError: it does not come up.
        """
        with self._lock:
            self._users.add(user)
            if self._process is not None and self._process.poll() is None:
                return
            # -I -S: the worker needs nothing but the standard library, and starts in half the time.
            command = [sys.executable, "-I", "-S", wire.__file__, files.library, str(files.data)]
            try:
                process = subprocess.Popen(  # noqa: S603 - our own file, no shell
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            except OSError as exc:
                message = f"the speech process cannot be started: {exc}"
                raise PatterConnectionError(message, vendor=_VENDOR) from exc
            self._process, self._jobs = process, {}
            self._greet(process)

    def _greet(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its first frame, then read on in a thread."""
        greeting: Future[tuple[bytes, bytes]] = Future()
        reader = threading.Thread(
            target=_read,
            args=(process, self._jobs, greeting),
            name="getpatter-local-tts",
            daemon=True,
        )
        reader.start()
        try:
            kind, payload = greeting.result(timeout=_START_WITHIN_S)
        except TimeoutError as exc:
            self.stop()
            message = f"the speech process said nothing for {_START_WITHIN_S:.0f} s"
            raise PatterConnectionError(message, vendor=_VENDOR) from exc
        if kind != wire.READY:
            self.stop()
            reason = json.loads(payload)["error"] if payload else "it ended at once"
            raise PatterConfigError(f"the voice cannot be loaded: {reason}", vendor=_VENDOR)
        self.sample_rate = int(json.loads(payload)["sample_rate"])

    def say(self, request: bytes, deliver: Deliver) -> int:
        """Queue one piece of text; its frames go to `deliver`. Returns the number of the job."""
        with self._lock:
            job = next(self._numbers)
            self._jobs[job] = deliver
            if not self._send(wire.SAY, job, request):
                del self._jobs[job]
                deliver(_LOST, b"")
            return job

    def cancel(self, job: int) -> None:
        """Stop that piece; nothing more of it is delivered."""
        with self._lock:
            if self._jobs.pop(job, None) is not None:
                self._send(wire.CANCEL, job)

    def leave(self, user: LocalTTS) -> None:
        """One user less; without users the process ends."""
        with self._lock:
            self._users.discard(user)
            if not self._users:
                self.stop()

    def stop(self) -> None:
        """End the process, gently first."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            if process.stdin is not None:
                _close_quietly(process.stdin)
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_WITHIN_S)

    def _send(self, kind: bytes, job: int, payload: bytes = b"") -> bool:
        process = self._process
        if process is None or process.stdin is None:
            return False
        try:
            process.stdin.write(wire.FRAME.pack(kind, job, len(payload)) + payload)
            process.stdin.flush()
        except (OSError, ValueError):  # ended, or its pipe is being closed by the reading thread
            return False
        return True


def _read(
    process: subprocess.Popen[bytes],
    jobs: dict[int, Deliver],
    greeting: Future[tuple[bytes, bytes]],
) -> None:
    """In a thread of its own: give every frame to its job until the pipe ends."""
    source = process.stdout
    assert source is not None
    frame = wire.receive(source)
    greeting.set_result((frame[0], frame[2]) if frame else (wire.END, b""))
    while (frame := wire.receive(source)) is not None:
        kind, job, payload = frame
        deliver = jobs.get(job) if kind == wire.AUDIO else jobs.pop(job, None)
        if deliver is not None and not _handed_over(deliver, kind, payload):
            jobs.pop(job, None)
    process.wait()
    for pipe in (process.stdin, source):
        if pipe is not None:
            _close_quietly(pipe)
    while jobs:
        _handed_over(jobs.popitem()[1], _LOST, b"")


def _handed_over(deliver: Deliver, kind: bytes, payload: bytes) -> bool:
    try:
        deliver(kind, payload)
    except RuntimeError:  # its event loop is closed: nobody wants this any more
        return False
    return True


def _close_quietly(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:
        logger.debug("tts.local.pipe_closed_early")


_process = SpeakerProcess()
atexit.register(_process.stop)
