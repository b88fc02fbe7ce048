"""Deepgram's streaming recogniser.

Protocol: https://developers.deepgram.com/reference/speech-to-text/listen-streaming

```
-> binary audio            <- Results      words of a span: is_final freezes them, speech_final ends the turn
-> Finalize                <- Results      from_finalize
-> KeepAlive               <- SpeechStarted, UtteranceEnd
-> CloseStream             <- Results, Metadata (seconds charged), close 1000
```

Noise can keep `speech_final` from ever coming. Then `UtteranceEnd` ends the turn, unless it was ended already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import urlencode

import msgspec

from getpatter.errors import PatterConnectionError
from getpatter.models import Transcript, Word
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Billed, Dialect, Heard, SocketSTT
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["STT", "DeepgramSTT"]

VENDOR: Final = "deepgram"
BASE_URL: Final = "wss://api.deepgram.com"
_LEAST_UTTERANCE_END_MS: Final = 1000
_ENCODINGS: Final = {
    "linear16": Encoding.PCM16,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
}
_NAMES: Final = {encoding: name for name, encoding in _ENCODINGS.items()}
_RATES: Final = (8000, 16000, 24000, 32000, 44100, 48000)


class _Keywords(TypedDict, total=False):
    language: str
    model: str
    endpointing_ms: int
    utterance_end_ms: int | None
    smart_format: bool
    interim_results: bool
    vad_events: bool
    keyterms: Sequence[str]
    base_url: str


class DeepgramSTT(SocketSTT):
    """Deepgram Nova over a socket.

    ```python
    stt = DeepgramSTT(language="en", keyterms=["Patter"])  # the key is DEEPGRAM_API_KEY
    ```
    """

    provider_key = VENDOR
    agent_settings = MappingProxyType({"language": "language"})
    languages = "tag"
    vendor = VENDOR
    key_variable = "DEEPGRAM_API_KEY"

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        language: str = DefaultStr("en"),
        model: str = "nova-3",
        encoding: str = DefaultStr("linear16"),
        sample_rate: int = DefaultInt(16000),
        endpointing_ms: int = 150,
        utterance_end_ms: int | None = 1000,
        smart_format: bool = False,
        interim_results: bool = True,
        vad_events: bool = True,
        keyterms: Sequence[str] = (),
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `DEEPGRAM_API_KEY`.
            language: BCP-47, or `"multi"`.
            model: Such as `"nova-3"` or `"nova-2-phonecall"`.
            encoding: `"linear16"`, `"mulaw"` or `"alaw"`. Unless it or the rate is given, a call chooses.
            sample_rate: Hertz.
            endpointing_ms: Silence after which the vendor takes the turn for ended; 0 switches that off.
            utterance_end_ms: Gap between words that ends the turn where noise hides the silence; at least
                1000, `None` for off. Needs `interim_results`.
            smart_format: Write dates, sums and the like as figures.
            interim_results: Also deliver guesses.
            vad_events: Have the beginning of speech announced.
            keyterms: Words to expect (nova-3).
            base_url: Another address of the service, such as that of the EU or one of your own.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if encoding not in _ENCODINGS:
            raise ValueError(f"DeepgramSTT encoding is one of {[*_ENCODINGS]}, not {encoding!r}")
        if sample_rate not in _RATES:
            raise ValueError(f"DeepgramSTT sample_rate is one of {_RATES}, not {sample_rate}")
        if utterance_end_ms is not None and utterance_end_ms < _LEAST_UTTERANCE_END_MS:
            raise ValueError(f"utterance_end_ms is at least 1000 or None, not {utterance_end_ms}")
        if endpointing_ms < 0:
            raise ValueError(f"endpointing_ms cannot be negative: {endpointing_ms}")
        self.language = str(language)
        self.model = model
        self.input_format = AudioFormat(_ENCODINGS[encoding], int(sample_rate))
        self._is_format_named = not (
            isinstance(encoding, DefaultStr) and isinstance(sample_rate, DefaultInt)
        )
        super().__init__(
            api_key,
            {
                "language": language,
                "model": model,
                "encoding": encoding,
                "sample_rate": sample_rate,
                "endpointing_ms": endpointing_ms,
                "utterance_end_ms": utterance_end_ms,
                "smart_format": smart_format,
                "interim_results": interim_results,
                "vad_events": vad_events,
                "keyterms": tuple(keyterms),
                "base_url": base_url,
            },
        )
        self._query: tuple[tuple[str, str], ...] = (
            ("model", model),
            ("language", str(language)),
            ("interim_results", _said(interim_results)),
            ("endpointing", str(endpointing_ms) if endpointing_ms else "false"),
            ("vad_events", _said(vad_events)),
            ("smart_format", _said(smart_format)),
            *_utterance_end(utterance_end_ms, has_interims=interim_results),
            *(("keyterm", term) for term in keyterms),
        )
        self._base_url = base_url

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with mu-law at 8 kHz."""
        return cls(api_key, encoding="mulaw", sample_rate=8000, **options)

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with PCM16 at 16 kHz."""
        return cls(api_key, encoding="linear16", sample_rate=16000, **options)

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if it may; see `with_input`."""
        if audio_format == self.input_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES:
            return False
        self.input_format = audio_format
        self._set(encoding=_NAMES[audio_format.encoding], sample_rate=audio_format.sample_rate)
        return True

    def _dialect(self) -> DeepgramDialect:
        return DeepgramDialect(self._base_url, self._key, self.input_format, self._query)


STT = DeepgramSTT


class _Kind(msgspec.Struct):
    type: str


class _Word(msgspec.Struct):
    word: str
    start: float = 0.0
    end: float = 0.0
    confidence: float = 0.0
    punctuated_word: str | None = None


class _Alternative(msgspec.Struct):
    transcript: str
    confidence: float = 0.0
    words: list[_Word] = []
    languages: list[str] = []


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative]


class _Results(msgspec.Struct):
    channel: _Channel
    start: float = 0.0
    duration: float = 0.0
    is_final: bool = False
    speech_final: bool = False


class _Metadata(msgspec.Struct):
    duration: float = 0.0


class _Error(msgspec.Struct):
    description: str = ""
    message: str = ""
    variant: str = ""


_KIND: Final = msgspec.json.Decoder(_Kind)
_RESULTS: Final = msgspec.json.Decoder(_Results)
_METADATA: Final = msgspec.json.Decoder(_Metadata)
_ERROR: Final = msgspec.json.Decoder(_Error)


@dataclass(slots=True)
class DeepgramDialect(Dialect):
    """`/v1/listen`, one channel."""

    base_url: str
    key: str = field(repr=False)
    audio_format: AudioFormat
    query: tuple[tuple[str, str], ...]
    has_open_words: bool = False
    """There were final words since the last end of a turn."""

    final_codes: ClassVar[frozenset[int]] = frozenset({1008})

    def __post_init__(self) -> None:
        """It hangs up (NET-0001) after ten seconds without a message."""
        self.keep_alive = '{"type":"KeepAlive"}'
        self.keep_alive_every = 4.0

    def request(self) -> SocketRequest:
        """`wss://…/v1/listen?…` with the key in a header."""
        query = urlencode(
            (
                *self.query,
                ("encoding", _NAMES[self.audio_format.encoding]),
                ("sample_rate", str(self.audio_format.sample_rate)),
                ("channels", "1"),
            )
        )
        return SocketRequest(
            f"{self.base_url}/v1/listen?{query}",
            headers={"Authorization": f"Token {self.key}"},
            vendor=VENDOR,
            keep_alive=self.keep_alive,
            keep_alive_every=self.keep_alive_every,
        )

    def finalize(self) -> tuple[Message, ...]:
        """Words of the audio sent so far, please."""
        return ('{"type":"Finalize"}',)

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return ('{"type":"CloseStream"}',)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown types mean nothing."""
        match decoded(_KIND, message, VENDOR).type:
            case "Results":
                return self._results(decoded(_RESULTS, message, VENDOR))
            case "UtteranceEnd":
                return self._turn_ended()
            case "Metadata":
                return (Billed(decoded(_METADATA, message, VENDOR).duration),)
            case "Error":
                return (_failure(decoded(_ERROR, message, VENDOR), self.key),)
            case _:
                return ()

    def _results(self, said: _Results) -> Sequence[Heard]:
        alternatives = said.channel.alternatives
        best = alternatives[0] if alternatives else _Alternative("")
        text = best.transcript.strip()
        if said.is_final:
            self.has_open_words = not said.speech_final and (self.has_open_words or bool(text))
        if not text and not (said.is_final and said.speech_final):
            return ()
        words = tuple(
            Word(w.punctuated_word or w.word, w.start * 1000, w.end * 1000, w.confidence)
            for w in best.words
        )
        return (
            Transcript(
                text,
                is_final=said.is_final,
                confidence=best.confidence,
                speech_final=said.is_final and said.speech_final,
                words=words,
                start_ms=words[0].start_ms if words else said.start * 1000,
                end_ms=words[-1].end_ms if words else (said.start + said.duration) * 1000,
                language=best.languages[0] if best.languages else "",
            ),
        )

    def _turn_ended(self) -> Sequence[Heard]:
        if not self.has_open_words:
            return ()
        self.has_open_words = False
        return (Transcript("", is_final=True, speech_final=True),)


def _failure(error: _Error, key: str) -> Heard:
    said = " ".join(part for part in (error.variant, error.description, error.message) if part)
    return PatterConnectionError(f"{VENDOR}: {clean_text(said, (key,))}", vendor=VENDOR)


def _said(value: bool) -> str:  # noqa: FBT001 - it is what is said
    return "true" if value else "false"


def _utterance_end(ms: int | None, *, has_interims: bool) -> tuple[tuple[str, str], ...]:
    return (("utterance_end_ms", str(ms)),) if ms is not None and has_interims else ()
