"""Deepgram's recogniser for conversations (Flux), which finds the ends of turns itself.

Protocol: https://developers.deepgram.com/reference/speech-to-text/listen-flux

```
-> binary audio, about 80 ms a message    <- TurnInfo  StartOfTurn, Update, EagerEndOfTurn, TurnResumed, EndOfTurn
-> {"type": "ForceEndTurn"}               <- TurnInfo  EndOfTurn
-> {"type": "CloseStream"}
```

Each `TurnInfo` brings the words of the whole turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import urlencode

import msgspec

from getpatter.errors import PatterConnectionError
from getpatter.models import Transcript, Word
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Dialect, Heard, SocketSTT
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Encoding

__all__ = ["STT", "DeepgramFluxSTT"]

VENDOR: Final = "deepgram"
BASE_URL: Final = "wss://api.deepgram.com"
_NAMES: Final = {
    Encoding.PCM16: "linear16",
    Encoding.MULAW: "mulaw",
    Encoding.ALAW: "alaw",
}
_RATES: Final = (8000, 16000, 24000, 44100, 48000)
_ALIVE_MS: Final = 80.0


class _Keywords(TypedDict, total=False):
    model: str
    eot_threshold: float
    eager_eot_threshold: float | None
    eot_timeout_ms: int
    base_url: str


class DeepgramFluxSTT(SocketSTT):
    """Deepgram Flux over a socket."""

    provider_key = VENDOR
    vendor = VENDOR
    key_variable = "DEEPGRAM_API_KEY"

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str = "flux-general-en",
        eot_threshold: float = 0.7,
        eager_eot_threshold: float | None = None,
        eot_timeout_ms: int = 5000,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `DEEPGRAM_API_KEY`.
            model: `"flux-general-en"` or `"flux-general-multi"`.
            eot_threshold: How sure it must be that the turn is over, 0.5 to 1.
            eager_eot_threshold: How sure for an early guess, 0.3 to 0.9 and at most `eot_threshold`; `None` for
                no such guesses.
            eot_timeout_ms: Silence that ends a turn in any case, 500 to 60000.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if not 0.5 <= eot_threshold <= 1:  # noqa: PLR2004 - as documented
            raise ValueError(f"eot_threshold is 0.5 to 1, not {eot_threshold}")
        if eager_eot_threshold is not None and not 0.3 <= eager_eot_threshold <= eot_threshold:  # noqa: PLR2004
            raise ValueError(
                f"eager_eot_threshold is 0.3 to eot_threshold, not {eager_eot_threshold}"
            )
        if not 500 <= eot_timeout_ms <= 60_000:  # noqa: PLR2004
            raise ValueError(f"eot_timeout_ms is 500 to 60000, not {eot_timeout_ms}")
        self.model = str(model)
        self.language = "multi" if self.model.endswith("multi") else "en"
        self.input_format = PCM16_16K
        self._is_format_named = False
        self._base_url = base_url
        self._query: dict[str, str] = {
            "model": self.model,
            "eot_threshold": str(eot_threshold),
            "eot_timeout_ms": str(eot_timeout_ms),
        }
        if eager_eot_threshold is not None:
            self._query["eager_eot_threshold"] = str(eager_eot_threshold)
        super().__init__(
            api_key,
            {
                "model": self.model,
                "eot_threshold": eot_threshold,
                "eager_eot_threshold": eager_eot_threshold,
                "eot_timeout_ms": eot_timeout_ms,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with mu-law at 8 kHz."""
        made = cls(api_key, **options)
        made.input_format = MULAW_8K
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

    def _dialect(self) -> FluxDialect:
        return FluxDialect(self._base_url, self._key, self._query, self.input_format)


STT = DeepgramFluxSTT


class _Word(msgspec.Struct):
    word: str
    confidence: float = 0.0
    start: float | None = None
    end: float | None = None


class _Frame(msgspec.Struct):
    type: str
    event: str = ""
    transcript: str = ""
    words: list[_Word] = []
    audio_window_start: float = 0.0
    audio_window_end: float = 0.0
    languages: list[str] = []
    code: str = ""
    description: str = ""


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class FluxDialect(Dialect):
    """`/v2/listen`."""

    base_url: str
    key: str = field(repr=False)
    query: dict[str, str]
    audio_format: AudioFormat

    least_ms: ClassVar[float] = 80.0

    def __post_init__(self) -> None:
        """It has no message for this: audio must flow."""
        samples = self.audio_format.size(_ALIVE_MS) // self.audio_format.bytes_per_sample
        self.keep_alive = self.audio_format.silence * samples
        self.keep_alive_every = 4.0

    def request(self) -> SocketRequest:
        """The key is in a header."""
        query = urlencode(
            {
                **self.query,
                "encoding": _NAMES[self.audio_format.encoding],
                "sample_rate": str(self.audio_format.sample_rate),
            }
        )
        return SocketRequest(
            f"{self.base_url}/v2/listen?{query}",
            headers={"Authorization": f"Token {self.key}"},
            vendor=VENDOR,
            keep_alive=self.keep_alive,
            keep_alive_every=self.keep_alive_every,
        )

    def finalize(self) -> tuple[Message, ...]:
        """End the turn now, please."""
        return ('{"type":"ForceEndTurn"}',)

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return ('{"type":"CloseStream"}',)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown types mean nothing."""
        frame = decoded(_FRAME, message, VENDOR)
        match frame.type:
            case "TurnInfo":
                return self._turn(frame)
            case "Error":
                said = clean_text(f"{frame.code} {frame.description}", (self.key,))
                return (PatterConnectionError(f"{VENDOR}: {said}", vendor=VENDOR),)
            case _:
                return ()

    def _turn(self, frame: _Frame) -> Sequence[Heard]:
        text = frame.transcript.strip()
        is_end = frame.event == "EndOfTurn"
        if not text or frame.event == "TurnResumed":
            return ()
        words = tuple(
            Word(
                each.word,
                None if each.start is None else each.start * 1000,
                None if each.end is None else each.end * 1000,
                each.confidence,
            )
            for each in frame.words
        )
        known = words and words[0].start_ms is not None
        return (
            Transcript(
                text,
                is_final=is_end,
                confidence=min((word.confidence for word in words), default=0.0),
                speech_final=is_end,
                words=words,
                start_ms=words[0].start_ms if known else frame.audio_window_start * 1000,
                end_ms=words[-1].end_ms if known else frame.audio_window_end * 1000,
                language=frame.languages[0] if frame.languages else "",
            ),
        )
