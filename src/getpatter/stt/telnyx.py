"""Telnyx' recognisers: several engines behind one socket.

Protocol: https://developers.telnyx.com/docs/voice/stt/websocket-streaming

```
-> binary audio            <- {"transcript", "is_final", "confidence", "speech_final"}
-> {"type": "Finalize"}    <- final words                 some engines only; the others ignore it
-> {"type": "CloseStream"} <- final words, then it closes  as above
```

What is wrong with the query is said on the open socket (`{"errors": [...]}`), which then closes. Nothing says when
something was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final
from urllib.parse import urlencode

import msgspec

from getpatter.errors import PatterConnectionError
from getpatter.models import Transcript
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Dialect, Heard, SocketSTT
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["STT", "TelnyxSTT"]

VENDOR: Final = "telnyx"
BASE_URL: Final = "wss://api.telnyx.com"
_RATES: Final = (8000, 16000, 22050, 24000, 32000, 44100, 48000)


class TelnyxSTT(SocketSTT):
    """Telnyx speech-to-text over a socket."""

    provider_key = "telnyx_stt"
    agent_settings = MappingProxyType({"language": "language"})
    vendor = VENDOR
    key_variable = "TELNYX_API_KEY"

    def __init__(
        self,
        api_key: str | None = None,
        *,
        language: str = DefaultStr("en"),
        transcription_engine: str = "telnyx",
        sample_rate: int = DefaultInt(16000),
        model: str = "",
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `TELNYX_API_KEY`, the same as the carrier's.
            language: As the engine calls it, such as `"en"`.
            transcription_engine: Who recognises: `"telnyx"`, or one of the others that the vendor lists, by its name.
            sample_rate: Hertz, of PCM16. Unless it is given, a call chooses.
            model: A model of the engine; empty leaves it to the vendor.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if sample_rate not in _RATES:
            raise ValueError(f"TelnyxSTT sample_rate is one of {_RATES}, not {sample_rate}")
        if not transcription_engine:
            raise ValueError("TelnyxSTT transcription_engine must not be empty")
        self.language = str(language)
        self.engine = transcription_engine
        self.model = model or transcription_engine.lower()
        """The engine's model, or the engine where none is named."""
        self.input_format = AudioFormat(Encoding.PCM16, int(sample_rate))
        self._is_format_named = not isinstance(sample_rate, DefaultInt)
        self._wire_model = model
        self._base_url = base_url
        super().__init__(
            api_key,
            {
                "language": language,
                "transcription_engine": transcription_engine,
                "sample_rate": sample_rate,
                "model": model,
                "base_url": base_url,
            },
        )

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if it may; see `with_input`."""
        if audio_format == self.input_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES:
            return False
        self.input_format = audio_format
        return True

    def _dialect(self) -> TelnyxDialect:
        # The vendor writes its engines with a capital; a name that has one is taken as it is.
        engine = self.engine.capitalize() if self.engine.islower() else self.engine
        return TelnyxDialect(
            self._base_url, self._key, engine, self._wire_model, self.language, self.input_format
        )


STT = TelnyxSTT

_NAMES: Final = {
    Encoding.PCM16: "linear16",
    Encoding.MULAW: "mulaw",
    Encoding.ALAW: "alaw",
}


class _Source(msgspec.Struct):
    parameter: str = ""


class _Error(msgspec.Struct):
    code: str | int = ""
    title: str = ""
    detail: str = ""
    source: _Source | None = None


class _Frame(msgspec.Struct):
    transcript: str = ""
    is_final: bool = False
    speech_final: bool = False
    utterance_end: bool = False
    confidence: float | None = None
    errors: list[_Error] = []


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class TelnyxDialect(Dialect):
    """`/v2/speech-to-text/transcription`."""

    base_url: str
    key: str = field(repr=False)
    engine: str
    model: str
    language: str
    audio_format: AudioFormat

    most_ms: ClassVar[float] = 250.0  # 2 to 8 KB a message are recommended

    def __post_init__(self) -> None:
        """Some engines close an idle stream, and the others ignore this."""
        self.keep_alive = '{"type":"KeepAlive"}'
        self.keep_alive_every = 4.0

    def request(self) -> SocketRequest:
        """The key is in a header."""
        query = {
            "transcription_engine": self.engine,
            "language": self.language,
            "input_format": _NAMES[self.audio_format.encoding],
            "sample_rate": str(self.audio_format.sample_rate),
            "interim_results": "true",
        }
        if self.model:
            query["model"] = self.model
        return SocketRequest(
            f"{self.base_url}/v2/speech-to-text/transcription?{urlencode(query)}",
            headers={"Authorization": f"Bearer {self.key}"},
            vendor=VENDOR,
        )

    def finalize(self) -> tuple[Message, ...]:
        """Words of the audio sent so far, please."""
        return ('{"type":"Finalize"}',)

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return ('{"type":"CloseStream"}',)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown ones mean nothing."""
        frame = decoded(_FRAME, message, VENDOR)
        if frame.errors:
            return (self._failure(frame.errors[0]),)
        ends = frame.is_final and (frame.speech_final or frame.utterance_end)
        if not frame.transcript.strip() and not ends:
            return ()
        return (
            Transcript(
                frame.transcript.strip(),
                is_final=frame.is_final,
                confidence=frame.confidence or 0.0,
                speech_final=ends,
            ),
        )

    def _failure(self, error: _Error) -> Heard:
        where = f" ({error.source.parameter})" if error.source and error.source.parameter else ""
        what = clean_text(error.detail or error.title, (self.key,))
        return PatterConnectionError(
            f"{VENDOR} answered {error.code}{where}: {what}",
            vendor=VENDOR,
            retryable=not error.code,  # a numbered one is about our parameters
        )
