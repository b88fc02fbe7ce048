"""Recognisers that take a whole utterance at a time: audio is collected, cut where the voice stops, and asked about.

```
feed(audio) -> Cutter: a ring of 300 ms, then everything from the first sound on
finalize()  -> the voice detector of the call has heard the end: cut here (else after 700 ms of quiet)
receive_transcripts() -> one request for each utterance, in order
```

Silence is never sent: models of this kind invent polite phrases for it. What they make of a click or of a steady
noise is dropped too, if it is such a phrase; what the voice detector took for speech never is.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from getpatter.audio.convert import converter
from getpatter.audio.wav import wav_bytes
from getpatter.errors import PatterError
from getpatter.models import Transcript, Word
from getpatter.net.messages import HttpRequest, HttpResponse
from getpatter.net.refusals import refusal, secrets_of
from getpatter.net.service import Service
from getpatter.types import AudioFormat, Encoding

logger = logging.getLogger(__name__)

_FRAME_MS: Final = 20
_BEFORE_MS: Final = 300
_QUIET_MS: Final = 700.0
_LONGEST_MS: Final = 28_000.0
_MOST_FAILURES: Final = 3
"""An utterance is asked about once more after each of them; a call has given up by then."""
_MOST_WAITING: Final = 8
_CLICK_MS: Final = 200.0
_STEADY_DB: Final = 1.5
_SAME_WITHIN_MS: Final = 500.0
_NO_SPEECH: Final = 0.8
_INVENTED: Final = frozenset(
    {
        "thank you", "thanks", "thank you very much", "thank you so much", "thanks for watching",
        "thank you for watching", "thank you for your watching", "please subscribe", "subscribe", "you", "bye",
        "bye bye", "the end", "silence", "music", "applause", "so", "okay", "i m sorry",
        "subtitles by the amara org community", "transcription by castingwords", "see you next time",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Utterance:
    """Some audio that is asked about, and what is known of it."""

    audio: bytes = field(repr=False)
    audio_format: AudioFormat
    start_ms: float
    end_ms: float
    voiced_ms: float
    """How much of it was louder than the background."""
    spread_db: float
    """How much its loudness varies: speech by 5 and more, a steady noise hardly at all."""
    is_confirmed: bool
    """The voice detector of the call ended it, so it was speech."""

    def wav(self) -> bytes:
        """As a WAV file of PCM16."""
        rate = self.audio_format.sample_rate
        change = converter(self.audio_format, AudioFormat(Encoding.PCM16, rate))
        return wav_bytes(change.convert(self.audio) + change.flush(), rate)

    @property
    def lasts_s(self) -> float:
        """Seconds of audio."""
        return self.audio_format.ms(len(self.audio)) / 1000


@dataclass(frozen=True, slots=True)
class Understood:
    """What a vendor made of an utterance."""

    text: str
    language: str = ""
    words: tuple[Word, ...] = ()
    no_speech: float = 0.0
    """How sure the vendor is that nobody spoke."""


def is_invented(heard: Understood, utterance: Utterance) -> bool:
    """Whether `heard` is what such a model says of no speech at all."""
    if not any(each.isalnum() for each in heard.text):
        return True
    if utterance.is_confirmed:
        return False
    letters = "".join(each if each.isalnum() else " " for each in heard.text.casefold())
    if " ".join(letters.split()) not in _INVENTED:
        return False
    return (
        utterance.voiced_ms < _CLICK_MS
        or utterance.spread_db < _STEADY_DB
        or heard.no_speech > _NO_SPEECH
    )


class Cutter:
    """Cuts a stream into utterances. Pure: time is counted in audio."""

    def __init__(self, audio_format: AudioFormat, quiet_ms: float = _QUIET_MS) -> None:
        """For audio in `audio_format`."""
        self._format = audio_format
        self._quiet_ms = quiet_ms
        self._size = audio_format.size(_FRAME_MS)
        self._to_pcm = converter(
            audio_format, AudioFormat(Encoding.PCM16, audio_format.sample_rate)
        )
        self._rest = b""
        self._frames: deque[bytes] = deque(maxlen=_BEFORE_MS // _FRAME_MS)
        self._open: list[bytes] | None = None
        self._levels: list[float] = []
        self._floor = -50.0
        self._loud = 0
        self._heard_ms = 0.0
        self._start_ms = 0.0
        self._last_ms = 0.0

    def push(self, data: bytes) -> list[Utterance]:
        """Take audio; returns the utterances that it completes."""
        data = self._rest + data
        whole = len(data) // self._size * self._size
        self._rest = data[whole:]
        done: list[Utterance] = []
        for start in range(0, whole, self._size):
            utterance = self._frame(data[start : start + self._size])
            if utterance is not None:
                done.append(utterance)
        return done

    def finalize(self) -> Utterance | None:
        """The voice has stopped: what was heard of it, if anything."""
        return self._cut(is_confirmed=True)

    def _frame(self, frame: bytes) -> Utterance | None:
        level = loudness(self._to_pcm.convert(frame))
        self._floor = max(-70.0, min(level, self._floor + 0.05))
        is_loud = level > max(self._floor + 6.0, -60.0)
        self._heard_ms += _FRAME_MS
        self._loud = self._loud + 1 if is_loud else 0
        if self._open is None:
            self._frames.append(frame)
            if self._loud >= 2:  # noqa: PLR2004 - one loud frame is a click on the line
                self._begin()
            return None
        self._open.append(frame)
        if is_loud:
            self._levels.append(level)
            self._last_ms = self._heard_ms
        is_quiet = self._heard_ms - self._last_ms >= self._quiet_ms
        is_long = self._heard_ms - self._start_ms >= _LONGEST_MS
        return self._cut(is_confirmed=False) if is_quiet or is_long else None

    def _begin(self) -> None:
        self._open = [*self._frames]
        self._frames.clear()
        self._start_ms = self._heard_ms - _FRAME_MS * self._loud
        self._last_ms = self._heard_ms
        self._levels = []

    def _cut(self, *, is_confirmed: bool) -> Utterance | None:
        if self._open is None:
            return None
        frames, self._open = self._open, None
        levels = self._levels or [0.0]
        self._loud = 0
        return Utterance(
            b"".join(frames),
            self._format,
            start_ms=self._start_ms,
            end_ms=self._last_ms,
            voiced_ms=(len(self._levels) + 2) * _FRAME_MS,
            spread_db=float(np.std(levels)),
            is_confirmed=is_confirmed,
        )


def loudness(pcm: bytes) -> float:
    """Level of PCM16 in dBov: 0 is the loudest square wave, -90 is digital silence."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    if not samples.size:
        return -90.0
    return 10 * math.log10(float(np.dot(samples, samples)) / samples.size + 1) - 90.3


class BufferedSTT(Service):
    """A recogniser that is asked about each utterance. A vendor's class adds request and answer."""

    input_format: AudioFormat
    """What `send_audio` is given."""
    model: str
    language: str
    _is_format_named = False

    def _request(self, utterance: Utterance) -> HttpRequest:
        raise NotImplementedError

    def _understood(self, body: bytes) -> Understood:
        """What the answer says. Raises `WireError`."""
        raise NotImplementedError

    def _renew(self) -> None:
        self._cutter: Cutter | None = None
        self._utterances: deque[Utterance] = deque()
        self._news = asyncio.Event()
        self._is_closed = False
        self._last: Transcript | None = None
        self._failures = 0
        self.billed_seconds = 0.0
        """Seconds of audio that were sent."""

    @property
    def input_formats(self) -> tuple[AudioFormat, ...]:
        """What `send_audio` takes: `input_format` only. `with_input` gives a recogniser for another."""
        return (self.input_format,)

    def with_input(self, formats: Sequence[AudioFormat]) -> Self | None:
        """A clone for the first of `formats`: WAV files are made of any."""
        usable = [each for each in formats if each.sample_rate in {8000, 16000, 24000}]
        if self._is_format_named:
            usable = [each for each in formats if each == self.input_format]
        if not usable:
            return None
        twin = self.clone()
        twin.input_format = usable[0]
        return twin

    async def connect(self) -> None:
        """Be ready. Nothing is opened before the first utterance is complete."""
        if self._cutter is None:
            self._cutter = Cutter(self.input_format)

    async def warmup(self) -> None:
        """Nothing can be prepared."""

    def feed(self, data: bytes) -> None:
        """Take the caller's next audio, in `input_format`. Never waits."""
        if self._cutter is None or self._is_closed:
            return
        for utterance in self._cutter.push(data):
            self._add(utterance)

    async def send_audio(self, pcm: bytes) -> None:
        """As `feed`."""
        self.feed(pcm)

    def finalize(self) -> None:
        """The voice has stopped: ask about what was heard, now."""
        utterance = self._cutter.finalize() if self._cutter is not None else None
        if utterance is not None:
            self._add(utterance)

    def _add(self, utterance: Utterance) -> None:
        if len(self._utterances) >= _MOST_WAITING:
            self._utterances.popleft()
            logger.warning("stt.utterance_dropped waiting=%d", _MOST_WAITING)
        self._utterances.append(utterance)
        self._news.set()

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """A final result for each utterance, until `close()`; to be read by one reader.

        Raises:
            AuthenticationError: the vendor refuses the key.
            RateLimitError: it wants no more requests, even after waiting.
            PatterConnectionError: another refusal, or no answer. Reading on asks once more.
        """
        await self.connect()
        while not self._is_closed:
            if not self._utterances:
                self._news.clear()
                await self._news.wait()
                continue
            said = await self._ask(self._utterances[0])
            if said is not None:
                yield said

    async def _ask(self, utterance: Utterance) -> Transcript | None:
        request = self._request(utterance)
        try:
            response = await self._connections.http.send(request)
            heard = self._understood(self._checked(request, response).body)
        except PatterError as error:
            self._failures += 1
            if not error.retryable or self._failures > _MOST_FAILURES:
                self._failures = 0
                self._forget(utterance)
            raise
        self._failures = 0
        self._forget(utterance)
        self.billed_seconds += utterance.lasts_s
        return self._transcript(heard, utterance)

    def _forget(self, utterance: Utterance) -> None:
        if self._utterances and self._utterances[0] is utterance:
            self._utterances.popleft()

    def _checked(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if 200 <= response.status < 300:  # noqa: PLR2004
            return response
        raise refusal(
            self.vendor,
            response.status,
            response.body.decode(errors="replace"),
            headers=response.headers,
            secrets=secrets_of(request.url, request.headers),
        )

    def _transcript(self, heard: Understood, utterance: Utterance) -> Transcript | None:
        if is_invented(heard, utterance):
            logger.info("stt.invention_dropped")
            return None
        said = Transcript(
            heard.text.strip(),
            is_final=True,
            speech_final=True,
            words=tuple(_shifted(word, utterance.start_ms) for word in heard.words),
            start_ms=utterance.start_ms,
            end_ms=utterance.end_ms,
            language=heard.language,
        )
        if self._is_echo(said, utterance):
            return None
        self._last = said
        return said

    def _is_echo(self, said: Transcript, utterance: Utterance) -> bool:
        """The same words again at once, where no pause and no detector parted them."""
        last = self._last
        if last is None or last.end_ms is None or utterance.is_confirmed or last.text != said.text:
            return False
        return utterance.start_ms - last.end_ms < _SAME_WITHIN_MS

    async def close(self) -> None:
        """End `receive_transcripts`. Idempotent."""
        self._is_closed = True
        self._utterances.clear()
        self._news.set()
        await self._release()


def _shifted(word: Word, by_ms: float) -> Word:
    start, end = word.start_ms, word.end_ms
    return Word(
        word.text,
        None if start is None else start + by_ms,
        None if end is None else end + by_ms,
        word.confidence,
    )
