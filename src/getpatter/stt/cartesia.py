"""Cartesia's streaming recogniser.

Protocol: https://docs.cartesia.ai/api-reference/stt/stt

```
-> binary audio     <- transcript   a guess, or final (when `finalize` or a pause asks for it)
-> finalize         <- flush_done
-> close            <- done
```

Commands are bare words, not JSON. Models of the `ink-2` family find the ends of turns themselves, on a socket of
their own: `turn.start`, `turn.update`, `turn.end`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import urlencode

import msgspec

from getpatter.errors import PatterError
from getpatter.models import Transcript, Word
from getpatter.net.refusals import refusal
from getpatter.net.service import decoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Dialect, Ended, Heard, SocketSTT
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["STT", "CartesiaSTT"]

VENDOR: Final = "cartesia"
BASE_URL: Final = "wss://api.cartesia.ai"
VERSION: Final = "2026-08-14"
_RATES: Final = (8000, 16000, 24000, 44100, 48000)
_NAMES: Final = {
    Encoding.PCM16: "pcm_s16le",
    Encoding.MULAW: "pcm_mulaw",
    Encoding.ALAW: "pcm_alaw",
}
_QUIET_S: Final = "0.5"
_LEAST_VOLUME: Final = "0.1"
_ALIVE_MS: Final = 40.0


class _Keywords(TypedDict, total=False):
    language: str
    model: str
    base_url: str


class CartesiaSTT(SocketSTT):
    """Cartesia Ink over a socket."""

    provider_key = "cartesia_stt"
    agent_settings = MappingProxyType({"language": "language"})
    vendor = VENDOR
    key_variable = "CARTESIA_API_KEY"

    def __init__(
        self,
        api_key: str | None = None,
        *,
        language: str = DefaultStr("en"),
        model: str = "ink-whisper",
        sample_rate: int = DefaultInt(16000),
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `CARTESIA_API_KEY`.
            language: ISO 639-1.
            model: `"ink-whisper"`, or `"ink-2"`, which finds the ends of turns itself.
            sample_rate: 8000, 16000, 24000, 44100 or 48000, of PCM16. Unless it is given, a call chooses.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a rate that the vendor does not take.
        """
        if sample_rate not in _RATES:
            raise ValueError(f"CartesiaSTT sample_rate is one of {_RATES}, not {sample_rate}")
        self.language = str(language)
        self.model = str(model)
        self.input_format = AudioFormat(Encoding.PCM16, int(sample_rate))
        self._is_format_named = not isinstance(sample_rate, DefaultInt)
        self._base_url = base_url
        super().__init__(
            api_key,
            {
                "language": language,
                "model": self.model,
                "sample_rate": sample_rate,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with mu-law at 8 kHz."""
        made = cls(api_key, **options)
        made.input_format = AudioFormat(Encoding.MULAW, 8000)
        made._is_format_named = True
        return made

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if it may; see `with_input`."""
        if audio_format == self.input_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES:
            return False
        self.input_format = audio_format
        return True

    def _dialect(self) -> Dialect:
        kind = TurnsDialect if self.model.startswith("ink-2") else ManualDialect
        return kind(self._base_url, self._key, self.model, self.language, self.input_format)


STT = CartesiaSTT


class _Word(msgspec.Struct):
    word: str
    start: float = 0.0
    end: float = 0.0


class _Frame(msgspec.Struct):
    type: str
    text: str = ""
    transcript: str = ""
    is_final: bool = False
    language: str | None = None
    words: list[_Word] | None = None
    title: str = ""
    message: str = ""
    status_code: int | None = None
    code: int | None = None


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class _CartesiaDialect(Dialect):
    base_url: str
    key: str = field(repr=False)
    model: str
    language: str
    audio_format: AudioFormat

    path: ClassVar[str] = ""
    authentication_codes: ClassVar[frozenset[int]] = frozenset({4001, 4003})

    def __post_init__(self) -> None:
        """A socket without audio is closed after 20 s, and only audio keeps it."""
        self.keep_alive = self.audio_format.silence * (
            self.audio_format.size(_ALIVE_MS) // self.audio_format.bytes_per_sample
        )
        self.keep_alive_every = 8.0

    def request(self) -> SocketRequest:
        """The key is in a header."""
        query = urlencode(
            {
                "model": self.model,
                **self._parameters(),
                "encoding": _NAMES[self.audio_format.encoding],
                "sample_rate": str(self.audio_format.sample_rate),
            }
        )
        return SocketRequest(
            f"{self.base_url}{self.path}?{query}",
            headers={"Authorization": f"Bearer {self.key}", "Cartesia-Version": VERSION},
            vendor=VENDOR,
            keep_alive=self.keep_alive,
            keep_alive_every=self.keep_alive_every,
        )

    def _parameters(self) -> dict[str, str]:
        return {}

    def _refused(self, frame: _Frame) -> PatterError:
        said = ": ".join(part for part in (frame.title, frame.message) if part)
        status = frame.status_code or frame.code or 400
        return refusal(VENDOR, status, said, secrets=(self.key,))


@dataclass(slots=True)
class ManualDialect(_CartesiaDialect):
    """`/stt/websocket`: finals when they are asked for, and after a pause."""

    is_asked: bool = False

    path: ClassVar[str] = "/stt/websocket"

    def _parameters(self) -> dict[str, str]:
        found = {"language": self.language}
        if self.model.startswith("ink-whisper"):
            found |= {"max_silence_duration_secs": _QUIET_S, "min_volume": _LEAST_VOLUME}
        return found

    def finalize(self) -> tuple[Message, ...]:
        """Words of the audio sent so far, please."""
        self.is_asked = True
        return ("finalize",)

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return ("close",)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown types mean nothing."""
        frame = decoded(_FRAME, message, VENDOR)
        match frame.type:
            case "transcript":
                return self._words(frame)
            case "flush_done":
                self.is_asked = False
            case "done":
                return (Ended(),)
            case "error":
                return (self._refused(frame),)
            case _:
                pass
        return ()

    def _words(self, frame: _Frame) -> Sequence[Heard]:
        text = frame.text.strip()
        if not text:
            return ()
        words = tuple(
            Word(each.word, each.start * 1000, each.end * 1000) for each in frame.words or ()
        )
        return (
            Transcript(
                text,
                is_final=frame.is_final,
                # Unasked, a final means that the vendor heard a pause.
                speech_final=frame.is_final and not self.is_asked,
                words=words,
                start_ms=words[0].start_ms if words else None,
                end_ms=words[-1].end_ms if words else None,
                language=frame.language or "",
            ),
        )


@dataclass(slots=True)
class TurnsDialect(_CartesiaDialect):
    """`/stt/turns/websocket`: the vendor finds the ends of turns."""

    path: ClassVar[str] = "/stt/turns/websocket"

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return ('{"type":"close"}',)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; a turn's text is given whole each time."""
        frame = decoded(_FRAME, message, VENDOR)
        text = frame.transcript.strip()
        match frame.type:
            case "turn.update" | "turn.eager_end" if text:
                return (Transcript(text, is_final=False),)
            case "turn.end":
                return (Transcript(text, is_final=True, speech_final=True),)
            case "error":
                return (self._refused(frame),)
            case _:
                return ()
