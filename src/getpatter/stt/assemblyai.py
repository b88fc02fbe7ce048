"""AssemblyAI's streaming recogniser (v3).

Protocol: https://www.assemblyai.com/docs/api-reference/streaming-api/universal-streaming/universal-streaming

```
-> binary audio, 50 to 1000 ms a message   <- Begin, Turn ... (words of the turn so far; end_of_turn)
-> {"type": "ForceEndpoint"}               <- Turn, end_of_turn
-> {"type": "Terminate"}                   <- Termination
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import urlencode

import msgspec

from getpatter.errors import AuthenticationError, PatterConnectionError, RateLimitError
from getpatter.models import Transcript, Word
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Dialect, Ended, Heard, SocketSTT
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["STT", "AssemblyAISTT"]

VENDOR: Final = "assemblyai"
BASE_URL: Final = "wss://streaming.assemblyai.com"
VERSION: Final = "2025-05-12"
_ENCODINGS: Final = {"pcm_s16le": Encoding.PCM16, "pcm_mulaw": Encoding.MULAW}
_NAMES: Final = {encoding: name for name, encoding in _ENCODINGS.items()}
_RATES: Final = (8000, 16000, 22050, 24000, 44100, 48000)
_AUTH_CODES: Final = frozenset({4001, 4002, 4003})
_RATE_CODES: Final = frozenset({3009, 4029})
_MULTILINGUAL: Final = "universal-streaming-multilingual"


class _Keywords(TypedDict, total=False):
    language: str
    model: str
    base_url: str


class AssemblyAISTT(SocketSTT):
    """AssemblyAI Universal Streaming over a socket."""

    provider_key = VENDOR
    agent_settings = MappingProxyType({"language": "language"})
    vendor = VENDOR
    key_variable = "ASSEMBLYAI_API_KEY"

    def __init__(
        self,
        api_key: str | None = None,
        *,
        language: str = DefaultStr("en"),
        model: str = DefaultStr("universal-streaming-english"),
        encoding: str = DefaultStr("pcm_s16le"),
        sample_rate: int = DefaultInt(16000),
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `ASSEMBLYAI_API_KEY`.
            language: ISO 639-1. Another than English chooses the model for many languages, unless one is named.
            model: Such as `"universal-streaming-english"`.
            encoding: `"pcm_s16le"` or `"pcm_mulaw"`. Unless it or the rate is given, a call chooses.
            sample_rate: Hertz.
            base_url: Another address of the service, such as that of the EU.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if encoding not in _ENCODINGS:
            raise ValueError(f"AssemblyAISTT encoding is one of {[*_ENCODINGS]}, not {encoding!r}")
        if sample_rate not in _RATES:
            raise ValueError(f"AssemblyAISTT sample_rate is one of {_RATES}, not {sample_rate}")
        is_english = language.lower().split("-")[0] in {"", "en"}
        self.language = str(language)
        self.model = (
            _MULTILINGUAL if isinstance(model, DefaultStr) and not is_english else str(model)
        )
        self.input_format = AudioFormat(_ENCODINGS[encoding], int(sample_rate))
        self._is_format_named = not (
            isinstance(encoding, DefaultStr) and isinstance(sample_rate, DefaultInt)
        )
        self._base_url = base_url
        super().__init__(
            api_key,
            {
                "language": language,
                "model": model,
                "encoding": encoding,
                "sample_rate": sample_rate,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with mu-law at 8 kHz."""
        return cls(api_key, encoding="pcm_mulaw", sample_rate=8000, **options)

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if it may; see `with_input`."""
        if audio_format == self.input_format:
            return True
        is_known = audio_format.encoding in _NAMES and audio_format.sample_rate in _RATES
        if self._is_format_named or not is_known:
            return False
        self.input_format = audio_format
        return True

    def _dialect(self) -> AssemblyAIDialect:
        return AssemblyAIDialect(self._base_url, self._key, self.model, self.input_format)


STT = AssemblyAISTT


class _Word(msgspec.Struct):
    text: str
    start: float = 0.0
    end: float = 0.0
    confidence: float = 0.0


class _Frame(msgspec.Struct):
    type: str = ""
    transcript: str = ""
    end_of_turn: bool = False
    turn_is_formatted: bool = False
    turn_order: int = 0
    words: list[_Word] = []
    language_code: str | None = None
    error_code: int | None = None
    error: str = ""


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class AssemblyAIDialect(Dialect):
    """`/v3/ws`."""

    base_url: str
    key: str = field(repr=False)
    model: str
    audio_format: AudioFormat
    ended_turn: int = -1
    """The last turn whose end was reported; its formatted copy says nothing new."""

    least_ms: ClassVar[float] = 50.0
    most_ms: ClassVar[float] = 900.0
    authentication_codes: ClassVar[frozenset[int]] = _AUTH_CODES
    rate_codes: ClassVar[frozenset[int]] = _RATE_CODES
    final_codes: ClassVar[frozenset[int]] = frozenset({3006, 3007, 4100, 4101})

    def __post_init__(self) -> None:
        """Its own client may say this; a session with an inactivity limit needs it."""
        self.keep_alive = '{"type":"KeepAlive"}'
        self.keep_alive_every = 20.0

    def request(self) -> SocketRequest:
        """The key is in a header, without a prefix."""
        query = urlencode(
            {
                "sample_rate": str(self.audio_format.sample_rate),
                "encoding": _NAMES[self.audio_format.encoding],
                "speech_model": self.model,
                "format_turns": "false",
            }
        )
        return SocketRequest(
            f"{self.base_url}/v3/ws?{query}",
            headers={"Authorization": self.key, "AssemblyAI-Version": VERSION},
            vendor=VENDOR,
        )

    def finalize(self) -> tuple[Message, ...]:
        """End the turn now, please."""
        return ('{"type":"ForceEndpoint"}',)

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return ('{"type":"Terminate"}',)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown types mean nothing."""
        frame = decoded(_FRAME, message, VENDOR)
        match frame.type:
            case "Turn":
                return self._turn(frame)
            case "Termination":
                return (Ended(),)
            case "Error" | "" if frame.error:
                return (self._failure(frame),)
            case _:
                return ()

    def _turn(self, frame: _Frame) -> Sequence[Heard]:
        if frame.end_of_turn and frame.turn_order == self.ended_turn:
            return ()
        words = tuple(
            Word(each.text, each.start, each.end, each.confidence) for each in frame.words
        )
        # While a turn goes on, `transcript` lacks the words that may still change.
        so_far = " ".join(word.text for word in words) or frame.transcript
        text = (frame.transcript or so_far) if frame.end_of_turn else so_far
        if frame.end_of_turn:
            self.ended_turn = frame.turn_order
        elif not text.strip():
            return ()
        return (
            Transcript(
                text.strip(),
                is_final=frame.end_of_turn,
                confidence=min((word.confidence for word in words), default=0.0),
                speech_final=frame.end_of_turn,
                words=words,
                start_ms=words[0].start_ms if words else None,
                end_ms=words[-1].end_ms if words else None,
                language=frame.language_code or "",
            ),
        )

    def _failure(self, frame: _Frame) -> Heard:
        code = frame.error_code
        said = f"{VENDOR} answered {code}: {clean_text(frame.error, (self.key,))}"
        if code in _AUTH_CODES:
            return AuthenticationError(said, vendor=VENDOR, retryable=False, status=code)
        if code in _RATE_CODES:
            return RateLimitError(said, vendor=VENDOR, status=code)
        return PatterConnectionError(said, vendor=VENDOR, status=code)
