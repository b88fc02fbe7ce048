"""A recogniser on this machine: no key, no download, no network; for calls in which the answers are known.

pocketsphinx compares what it hears with a *grammar* of sentences, and knows nothing else. That makes it
right for demonstrations, tests and menus, and useless for free conversation: of free speech over a
telephone it gets every second word wrong, so that is refused (docs/providers/local.md has the figures).

```
send_audio --> bounded queue --> receive_transcripts() --> a thread --> Listener
 (8 kHz mu-law or 16 kHz PCM)      (drops the oldest)       of a pool    loudness gate: where speech begins
                                                                        decoder: which sentence it is
                                                                        doubt: rubbish becomes nothing
```

Three findings decide how the decoder is set up (benchmarks/offline_speech.py measures the result):

* it must be told how a telephone sounds: the mean of its features is set before each utterance, otherwise
  the first words of a call are lost while it adapts;
* its noise remover must have heard a quiet line for a second, or it takes the first word for noise: 93 % of
  first utterances were right without that, 98.6 % with it;
* the search over the word lattice (`bestpath`) must be off: with a grammar it can run for minutes.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np

from getpatter.audio.convert import Converter, converter
from getpatter.models import Transcript, Word
from getpatter.stt._local_grammar import Grammar, parse
from getpatter.types import PCM16_8K, PCM16_16K, AudioFormat

__all__ = ["STT", "LocalSTT"]

_RATE: Final = 16_000
_SLOWEST: Final = 8_000
_FRAME_MS: Final = 20
_FRAME_BYTES: Final = _RATE * 2 * _FRAME_MS // 1000
_TELEPHONE: Final = (
    "39.73,29.27,-32.24,34.98,-22.54,0.293,11.50,-25.26,17.15,-11.06,0.788,8.83,-13.38"
)
"""Mean cepstrum of speech over 8 kHz mu-law at about -20 dBov."""
_DOUBT_CENTRE: Final = -0.0042
_DOUBT_WIDTH: Final = 0.0003
"""Mean log score of a frame (0 is perfect) at which a sentence of the grammar and something else are as
likely, and how fast that changes: fitted to 10 voices by benchmarks/offline_speech.py."""
_STEADY_DB: Final = 0.6
"""Spread of the loudness of 20 ms frames below which it is a noise (0.5) or a tone (0); a drawn-out vowel
has 0.9, most words 5 or more."""
_SLOWEST_SOUND_MS: Final = 300
"""Average length of the sounds of a word; slow speakers stay below 200."""
_QUEUE_MS: Final = 10_000
_INTERIM_EVERY: Final = 5
"""Frames between two looks at what has been understood so far: 100 ms."""


class _Segment(Protocol):
    """A word and where it was found; frames are 10 ms, the end included."""

    word: str
    start_frame: int
    end_frame: int
    ascore: float


class _Hypothesis(Protocol):
    hypstr: str


class _Decoder(Protocol):
    """The part of `pocketsphinx.Decoder` used here."""

    def add_word(self, word: str, phones: str, update: bool) -> object: ...  # noqa: FBT001 - theirs
    def add_jsgf_string(self, name: str, jsgf_string: str) -> None: ...
    def activate_search(self, search_name: str) -> None: ...
    def set_cmn(self, cmn: str) -> None: ...
    def start_utt(self) -> None: ...
    def process_raw(self, data: bytes) -> int: ...
    def end_utt(self) -> None: ...
    def hyp(self) -> _Hypothesis | None: ...
    def seg(self) -> Iterable[_Segment]: ...


class _Pocketsphinx(Protocol):
    def Decoder(self, **settings: object) -> _Decoder: ...  # noqa: N802 - theirs
    def get_model_path(self, subpath: str) -> str: ...


class LocalSTT:
    """Recognises the sentences of a grammar, on this machine.

    ```python
    stt = LocalSTT(grammar=["yes [please]", "no [thank you]", "(book | cancel) an appointment"])
    ```

    An object given to an agent is configuration; each call listens with its own `clone()`. A final
    `Transcript` comes when `finalize()` is called or after `endpointing_ms` of silence; speech that is not in
    the grammar mostly gives none at all.
    """

    def __init__(
        self,
        *,
        grammar: str | Iterable[str] | None = None,
        pronunciations: Mapping[str, str] | None = None,
        min_confidence: float = 0.3,
        endpointing_ms: int = 700,
        interim_results: bool = True,
        input_format: AudioFormat = PCM16_16K,
    ) -> None:
        """Prepare for what callers may say.

        Args:
            grammar: phrases, in which `( )` groups, `|` separates and `[ ]` may be left out; or one text of
                such lines, with `name = ...` lines used as `<name>`; or JSGF (begins with `#JSGF`).
            pronunciations: for words that the English dictionary lacks, in ARPAbet:
                `{"Aarav": "AA R AH V"}`.
            min_confidence: 0 to 1; results below are dropped as not in the grammar. 0 keeps all.
            endpointing_ms: silence that ends an utterance when nobody calls `finalize()`.
            interim_results: also deliver what has been understood so far.
            input_format: format of the audio that `send_audio` is given.

        Raises:
            ImportError: the extra is not installed, or has no build for this Python.
            ValueError: no grammar, a grammar that is wrong, or a word without pronunciation.
        """
        _pocketsphinx()
        if grammar is None:
            raise ValueError(
                "LocalSTT understands only the sentences of a grammar: pass grammar=[...] with what callers "
                "may say, or use a speech service for free conversation"
            )
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence is 0 to 1, not {min_confidence}")
        if endpointing_ms < 100:  # noqa: PLR2004 - shorter pauses are inside words
            raise ValueError(f"endpointing_ms is at least 100, not {endpointing_ms}")
        parsed = parse(grammar)
        self._settings = _Settings(
            parsed.jsgf,
            _lexicon(parsed, pronunciations or {}),
            min_confidence,
            endpointing_ms,
            interim_results,
        )
        self._new_session(input_format)
        _check_grammar(self._settings)

    def _new_session(self, input_format: AudioFormat) -> None:
        if input_format.sample_rate < _SLOWEST:
            raise ValueError(f"LocalSTT needs at least {_SLOWEST} Hz, not {input_format}")
        self.input_format = input_format
        self._listener: Listener | None = None
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._news = asyncio.Event()
        self._finalize = False
        self._closed = False
        self.dropped_ms = 0.0

    def __repr__(self) -> str:
        return f"LocalSTT(words={len(self._settings.lexicon)}, input_format={self.input_format!r})"

    def clone(self, *, input_format: AudioFormat | None = None) -> LocalSTT:
        """A recogniser of the same grammar for one more call."""
        twin = object.__new__(type(self))
        twin._settings = self._settings
        twin._new_session(input_format or self.input_format)
        return twin

    @property
    def input_formats(self) -> tuple[AudioFormat, ...]:
        """What `send_audio` takes: `input_format` only. `with_input` gives a recogniser for another."""
        return (self.input_format,)

    def with_input(self, formats: Sequence[AudioFormat]) -> LocalSTT | None:
        """A clone for the first of `formats` that it understands, or `None`."""
        usable = [form for form in formats if form.sample_rate >= _SLOWEST]
        return self.clone(input_format=usable[0]) if usable else None

    async def warmup(self) -> None:
        """Load the models now (30 ms), not at the caller's first word."""
        await self.connect()

    async def connect(self) -> None:
        """Load the models, unless that was done. They are this call's own."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.run_in_executor(
                _threads(), Listener, self._settings, self.input_format
            )

    async def send_audio(self, pcm: bytes) -> None:
        """Take the caller's next audio, in `input_format`. Never waits; the oldest is dropped when 10 s wait."""
        self.feed(pcm)

    def feed(self, data: bytes) -> None:
        """As `send_audio`, without being a coroutine."""
        if self._closed:
            return
        self._queue.append(data)
        self._queued += len(data)
        while self.input_format.ms(self._queued) > _QUEUE_MS:
            lost = len(self._queue.popleft())
            self._queued -= lost
            self.dropped_ms += self.input_format.ms(lost)
        self._news.set()

    async def finalize(self) -> None:
        """The caller has stopped speaking: deliver what was understood, now."""
        self._finalize = True
        self._news.set()

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """Results until `close()`; to be read by one reader."""
        await self.connect()
        listener = self._listener
        assert listener is not None
        loop = asyncio.get_running_loop()
        while not self._closed:
            await self._news.wait()
            self._news.clear()
            audio, finalize = b"".join(self._queue), self._finalize
            self._queue.clear()
            self._queued = 0
            self._finalize = False
            for result in await loop.run_in_executor(_threads(), listener.hear, audio, finalize):
                yield result

    async def transcribe(self, audio: bytes) -> list[Transcript]:
        """The final results of a whole recording in `input_format`, as a fresh call would hear it."""

        def hear() -> list[Transcript]:
            return Listener(self._settings, self.input_format).hear(audio, finalize=True)

        loop = asyncio.get_running_loop()
        return [found for found in await loop.run_in_executor(_threads(), hear) if found.is_final]

    async def close(self) -> None:
        """End `receive_transcripts`. Idempotent."""
        self._closed = True
        self._queue.clear()
        self._queued = 0
        self._news.set()


STT = LocalSTT


@dataclass(frozen=True, slots=True)
class _Settings:
    """What all calls of one `LocalSTT` share."""

    jsgf: str
    lexicon: tuple[tuple[str, str], ...]
    """Word (a second pronunciation as `word(2)`) and its phones."""
    min_confidence: float
    endpointing_ms: int
    interim_results: bool


_LOUDEST_FLOOR: Final = -45.0
"""Where the search for the background's level (dBov) starts: below speech, above most lines' noise."""


class Gate:
    """Where speech begins and ends, by loudness against the quietest of the last seconds.

    Deliberately eager: a door that slams opens it, and the decoder then finds no sentence.
    """

    def __init__(self) -> None:
        """Nothing heard yet."""
        self.level = -90.0
        """Of the last frame, dBov."""
        self._floor = _LOUDEST_FLOOR
        self._loud = 0

    def is_speech(self, frame: bytes) -> bool:
        """True while it sounds like a voice; two loud frames in a row open it."""
        samples = np.frombuffer(frame, "<i2").astype(np.float32)
        level = 10 * math.log10(float(np.dot(samples, samples)) / samples.size + 1) - 90.3
        self.level = level
        # Down at once, up by 2.5 dB a second: a floor, which long speech does not raise much.
        self._floor = max(-70.0, min(level, self._floor + 0.05))
        self._loud = self._loud + 1 if level > max(self._floor + 9.0, -55.0) else 0
        return self._loud >= 2  # noqa: PLR2004 - one loud frame is a click


class Listener:
    """The decoder of one call: audio in, transcripts out. Blocks; used by one thread at a time."""

    _LEAD_FRAMES: Final = 300 // _FRAME_MS
    _LONGEST_MS: Final = 12_000

    def __init__(self, settings: _Settings, source: AudioFormat) -> None:
        """Load the models for audio in the format `source`."""
        self._settings = settings
        # Always by way of 8 kHz: of wideband speech, measured against a telephone's mean, half is lost.
        self._to_8k: Converter = converter(source, PCM16_8K)
        self._to_16k: Converter = converter(PCM16_8K, PCM16_16K)
        self._sounds = {word: phones.count(" ") + 1 for word, phones in settings.lexicon}
        self._decoder = _decoder(settings)
        self._decoder.start_utt()
        self._decoder.process_raw(_quiet_line())
        self._decoder.end_utt()
        self._gate = Gate()
        self._rest = b""
        self._lead: deque[bytes] = deque(maxlen=self._LEAD_FRAMES)
        self._heard_ms = 0.0
        self._start_ms: float | None = None
        self._quiet_ms = 0
        self._interim = ""
        self._levels: list[float] = []
        """Of each frame of the utterance, or of the lead while there is none."""

    def hear(self, audio: bytes, finalize: bool = False) -> list[Transcript]:  # noqa: FBT001, FBT002
        """What the next piece of audio adds; with `finalize`, the end of the utterance."""
        found: list[Transcript] = []
        data = self._rest + self._to_16k.convert(self._to_8k.convert(audio))
        whole = len(data) - len(data) % _FRAME_BYTES
        for at in range(0, whole, _FRAME_BYTES):
            found += self._frame(data[at : at + _FRAME_BYTES])
        self._rest = data[whole:]
        if finalize:
            found += self._end()
        return found

    def _frame(self, frame: bytes) -> list[Transcript]:
        speech = self._gate.is_speech(frame)
        self._levels.append(self._gate.level)
        if self._start_ms is None:
            del self._levels[: -self._LEAD_FRAMES]
            self._lead.append(frame)
            self._heard_ms += _FRAME_MS
            if speech:
                self._begin()
            return []
        self._heard_ms += _FRAME_MS
        self._decoder.process_raw(frame)
        self._quiet_ms = 0 if speech else self._quiet_ms + _FRAME_MS
        if (
            self._quiet_ms >= self._settings.endpointing_ms
            or self._heard_ms - self._start_ms >= self._LONGEST_MS
        ):
            return self._end()
        return self._so_far() if len(self._levels) % _INTERIM_EVERY == 0 else []

    def _begin(self) -> None:
        self._start_ms = self._heard_ms - len(self._lead) * _FRAME_MS
        self._quiet_ms = 0
        self._interim = ""
        self._decoder.set_cmn(_TELEPHONE)
        self._decoder.start_utt()
        self._decoder.process_raw(b"".join(self._lead))
        self._lead.clear()

    def _so_far(self) -> list[Transcript]:
        if not self._settings.interim_results:
            return []
        found = self._decoder.hyp()
        text = found.hypstr if found else ""
        if not text or text == self._interim:
            return []
        self._interim = text
        return [Transcript(text=text, is_final=False, start_ms=self._start_ms)]

    def _end(self) -> list[Transcript]:
        if self._start_ms is None:
            return []
        begun, self._start_ms = self._start_ms, None
        levels, self._levels = self._levels, []
        self._decoder.end_utt()
        found = self._decoder.hyp()
        words = [seg for seg in self._decoder.seg() if _is_word(seg)] if found else []
        confidence = _confidence(words) if self._is_speech_like(words, levels) else 0.0
        if found is None or not words or confidence < self._settings.min_confidence:
            return []
        return [
            Transcript(
                text=found.hypstr,
                is_final=True,
                confidence=confidence,
                speech_final=True,
                words=tuple(_word(seg, begun) for seg in words),
                start_ms=begun + words[0].start_frame * 10,
                end_ms=begun + (words[-1].end_frame + 1) * 10,
            )
        ]

    def _is_speech_like(self, words: list[_Segment], levels: list[float]) -> bool:
        """False for steady noises and tones, which the decoder takes for one endless sound of a word."""
        if not words:
            return False
        span = levels[words[0].start_frame // 2 : words[-1].end_frame // 2 + 1]
        if len(span) < 2 or float(np.std(span)) < _STEADY_DB:  # noqa: PLR2004 - no spread in one
            return False
        return all(
            (word.end_frame - word.start_frame) * 10 <= _SLOWEST_SOUND_MS * self._sounds[word.word]
            for word in words
        )


def _word(segment: _Segment, begun_ms: float) -> Word:
    return Word(
        segment.word.partition("(")[0],
        begun_ms + segment.start_frame * 10,
        begun_ms + (segment.end_frame + 1) * 10,
        _confidence([segment]),
    )


def _is_word(segment: _Segment) -> bool:
    return segment.word[0] not in "<[("


def _confidence(words: list[_Segment]) -> float:
    """How well the sounds fit the sentence, 0 to 1.

    The decoder scores each frame against the best of all sounds, not only those of the grammar; a sentence
    that was not said fits badly somewhere.
    """
    frames = sum(word.end_frame - word.start_frame + 1 for word in words)
    if not frames:
        return 0.0
    score = sum(math.log(max(word.ascore, 1e-300)) for word in words) / frames
    return 1 / (1 + math.exp(min(50.0, (_DOUBT_CENTRE - score) / _DOUBT_WIDTH)))


@cache
def _threads() -> ThreadPoolExecutor:
    """Decoding is arithmetic without the interpreter's lock, so more threads than cores would only wait."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="getpatter-stt")


def _pocketsphinx() -> _Pocketsphinx:
    try:
        return cast("_Pocketsphinx", import_module("pocketsphinx"))
    except ImportError as exc:
        raise ImportError(
            "LocalSTT needs pocketsphinx: pip install 'getpatter[offline]' (there is no build for "
            "Python 3.14, nor for 3.12 on ARM)"
        ) from exc


def _decoder(settings: _Settings) -> _Decoder:
    module = _pocketsphinx()
    decoder = module.Decoder(
        hmm=module.get_model_path("en-us/en-us"),
        dict=None,
        lm=None,
        bestpath=False,
        loglevel="FATAL",
    )
    for word, phones in settings.lexicon:
        decoder.add_word(word, phones, False)  # noqa: FBT003 - theirs
    decoder.add_jsgf_string("callers", settings.jsgf)
    decoder.activate_search("callers")
    return decoder


@cache
def _quiet_line() -> bytes:
    """A second of a telephone line's noise, -45 dBov, the same each time."""
    noise = np.random.default_rng(0).standard_normal(_RATE) * 32768 * 10 ** (-45 / 20)
    return noise.astype("<i2").tobytes()


def _check_grammar(settings: _Settings) -> None:
    """Load it once, so that a mistake is found before the first ring."""
    try:
        _decoder(settings)
    except (RuntimeError, ValueError) as exc:
        raise ValueError(f"the grammar cannot be used: {exc}") from exc


_PHONES: Final = re.compile(r"[A-Z]{1,2}( [A-Z]{1,2})*")


def _lexicon(grammar: Grammar, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The pronunciations of all words of the grammar."""
    own: dict[str, str] = {}
    for word, phones in given.items():
        if not _PHONES.fullmatch(phones):
            raise ValueError(
                f"the pronunciation of {word!r} is ARPAbet without stress, such as 'T UW Z D IY', not {phones!r}"
            )
        own[word if word in grammar.words else word.lower()] = phones
    found = _dictionary(grammar.words - own.keys())
    missing = sorted(grammar.words - own.keys() - {word for word, _ in found})
    if missing:
        raise ValueError(
            f"not in the English dictionary: {', '.join(missing)}; spell the words another way, or add "
            f"pronunciations={{{missing[0]!r}: 'W ER D'}} in ARPAbet"
        )
    return (*found, *((word, own[word]) for word in sorted(own.keys() & grammar.words)))


def _dictionary(words: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Those of `words` that the bundled dictionary has, with all their pronunciations."""
    path = Path(_pocketsphinx().get_model_path("en-us/cmudict-en-us.dict"))
    found = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.rstrip().partition(" ")
            if word.partition("(")[0] in words:
                found.append((word, phones))
    return tuple(found)
