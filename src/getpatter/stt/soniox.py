"""Soniox' streaming recogniser.

Protocol: https://soniox.com/docs/stt/api-reference/websocket-api

```
-> {"api_key", "model", "audio_format", ...}   the first message; there is no header
-> binary audio          <- {"tokens": [...]}  final tokens once, guesses again and again
-> {"type": "finalize"}  <- ... "<fin>"        a token that is no word, as is "<end>" at the end of a turn
-> ""                    <- {"finished": true}
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypedDict, Unpack

import msgspec

from getpatter.models import Transcript, Word
from getpatter.net.refusals import refusal
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Billed, Dialect, Ended, Heard, SocketSTT
from getpatter.types import AudioFormat, DefaultInt, Encoding

__all__ = ["STT", "SonioxSTT"]

VENDOR: Final = "soniox"
BASE_URL: Final = "wss://stt-rt.soniox.com"
_END, _FINALIZED = "<end>", "<fin>"
_RATES: Final = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
_NAMES: Final = {
    Encoding.PCM16: "pcm_s16le",
    Encoding.MULAW: "mulaw",
    Encoding.ALAW: "alaw",
}
_SHORTEST_DELAY_MS, _LONGEST_DELAY_MS = 500, 3000


class _Keywords(TypedDict, total=False):
    model: str
    language_hints: Sequence[str] | None
    language_hints_strict: bool
    enable_speaker_diarization: bool
    enable_language_identification: bool
    max_endpoint_delay_ms: int
    base_url: str


class SonioxSTT(SocketSTT):
    """Soniox over a socket: many languages at once."""

    provider_key = VENDOR
    vendor = VENDOR
    key_variable = "SONIOX_API_KEY"

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        model: str = "stt-rt-v4",
        language_hints: Sequence[str] | None = None,
        language_hints_strict: bool = False,
        sample_rate: int = DefaultInt(16000),
        enable_speaker_diarization: bool = False,
        enable_language_identification: bool = True,
        max_endpoint_delay_ms: int = 500,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `SONIOX_API_KEY`.
            model: Such as `"stt-rt-v4"`.
            language_hints: ISO 639-1 of the languages to expect.
            language_hints_strict: Expect no others.
            sample_rate: Hertz, of PCM16. Unless it is given, a call chooses.
            enable_speaker_diarization: Tell speakers apart.
            enable_language_identification: Say which language was spoken.
            max_endpoint_delay_ms: Longest wait, 500 to 3000, before a pause ends the turn.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if sample_rate not in _RATES:
            raise ValueError(f"SonioxSTT sample_rate is one of {_RATES}, not {sample_rate}")
        if not _SHORTEST_DELAY_MS <= max_endpoint_delay_ms <= _LONGEST_DELAY_MS:
            raise ValueError(f"max_endpoint_delay_ms is 500 to 3000, not {max_endpoint_delay_ms}")
        self.model = str(model)
        self.language = language_hints[0] if language_hints else ""
        self.input_format = AudioFormat(Encoding.PCM16, int(sample_rate))
        self._is_format_named = not isinstance(sample_rate, DefaultInt)
        self._base_url = base_url
        self._config: dict[str, object] = {
            "model": self.model,
            "enable_speaker_diarization": enable_speaker_diarization,
            "enable_language_identification": enable_language_identification,
            "enable_endpoint_detection": True,
            "max_endpoint_delay_ms": max_endpoint_delay_ms,
        }
        if language_hints:
            self._config["language_hints"] = [*language_hints]
            self._config["language_hints_strict"] = language_hints_strict
        super().__init__(
            api_key,
            {
                "model": self.model,
                "language_hints": [*language_hints] if language_hints else None,
                "language_hints_strict": language_hints_strict,
                "sample_rate": sample_rate,
                "enable_speaker_diarization": enable_speaker_diarization,
                "enable_language_identification": enable_language_identification,
                "max_endpoint_delay_ms": max_endpoint_delay_ms,
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

    def _dialect(self) -> SonioxDialect:
        return SonioxDialect(self._base_url, self._key, self._config, self.input_format)


STT = SonioxSTT


class _Token(msgspec.Struct):
    text: str
    start_ms: float | None = None
    end_ms: float | None = None
    confidence: float = 0.0
    is_final: bool = False
    language: str | None = None


class _Frame(msgspec.Struct):
    tokens: list[_Token] = []
    total_audio_proc_ms: float | None = None
    finished: bool = False
    error_code: int | None = None
    error_message: str = ""


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class SonioxDialect(Dialect):
    """One stream. Tokens are parts of words; a space begins a new word."""

    base_url: str
    key: str = field(repr=False)
    config: Mapping[str, object]
    audio_format: AudioFormat
    spoken: list[_Token] = field(default_factory=list)
    """Final tokens of the turn so far."""

    final_codes: ClassVar[frozenset[int]] = frozenset({1008})

    def __post_init__(self) -> None:
        """Its own client says something every 25 s; a silent one is closed."""
        self.keep_alive = '{"type":"keepalive"}'
        self.keep_alive_every = 8.0

    def request(self) -> SocketRequest:
        """The key follows in the first message."""
        return SocketRequest(f"{self.base_url}/transcribe-websocket", vendor=VENDOR)

    def opening(self) -> tuple[Message, ...]:
        """Key, model and format."""
        return (
            encoded(
                {
                    **self.config,
                    "api_key": self.key,
                    "audio_format": _NAMES[self.audio_format.encoding],
                    "sample_rate": self.audio_format.sample_rate,
                    "num_channels": 1,
                }
            ),
        )

    def finalize(self) -> tuple[Message, ...]:
        """Words of the audio sent so far, please."""
        return ('{"type":"finalize"}',)

    def ending(self) -> tuple[Message, ...]:
        """An empty message is the end."""
        return ("",)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means."""
        frame = decoded(_FRAME, message, VENDOR)
        if frame.error_code is not None:
            return (refusal(VENDOR, frame.error_code, frame.error_message, secrets=(self.key,)),)
        news: list[Heard] = []
        guesses: list[_Token] = []
        for token in frame.tokens:
            if token.text in {_END, _FINALIZED}:
                news += self._turn(speech_final=token.text == _END)
            elif token.is_final:
                self.spoken.append(token)
            else:
                guesses.append(token)
        if guesses or (self.spoken and not news and frame.tokens):
            news.append(_transcript([*self.spoken, *guesses], is_final=False))
        if frame.finished:
            news += self._turn(speech_final=True)
            if frame.total_audio_proc_ms is not None:
                news.append(Billed(frame.total_audio_proc_ms / 1000))
            news.append(Ended())
        return news

    def _turn(self, *, speech_final: bool) -> list[Heard]:
        spoken, self.spoken = self.spoken, []
        if not spoken and not speech_final:
            return []
        return [_transcript(spoken, is_final=True, speech_final=speech_final)]


def _transcript(
    tokens: Sequence[_Token], *, is_final: bool, speech_final: bool = False
) -> Transcript:
    words: list[Word] = []
    for token in tokens:
        if words and not token.text.startswith(" "):
            last = words[-1]
            confidence = min(last.confidence, token.confidence)
            words[-1] = Word(last.text + token.text, last.start_ms, token.end_ms, confidence)
        else:
            words.append(Word(token.text.strip(), token.start_ms, token.end_ms, token.confidence))
    return Transcript(
        "".join(token.text for token in tokens).strip(),
        is_final=is_final,
        confidence=min((token.confidence for token in tokens), default=0.0),
        speech_final=speech_final,
        words=tuple(words),
        start_ms=words[0].start_ms if words else None,
        end_ms=words[-1].end_ms if words else None,
        language=next((token.language for token in tokens if token.language), ""),
    )
