"""Cartesia's voices, over one socket a call with a context for each text.

Protocol: https://docs.cartesia.ai/api-reference/tts/websocket

```
-> {context_id, transcript, voice, output_format, "continue": false}   <- chunk ..., done
-> {context_id, "cancel": true}                                        <- done
```
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self, TypedDict, Unpack

import msgspec

from getpatter.errors import WireError
from getpatter.net.refusals import refusal
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.tts._socket import Failed, SocketTTS, Sound, Spoken, VoiceDialect, VoiceNews
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["TTS", "CartesiaTTS"]

VENDOR: Final = "cartesia"
BASE_URL: Final = "wss://api.cartesia.ai"
VERSION: Final = "2026-08-14"
_ENCODINGS: Final[Mapping[str, Encoding]] = {
    "pcm_s16le": Encoding.PCM16,
    "pcm_mulaw": Encoding.MULAW,
    "pcm_alaw": Encoding.ALAW,
}
_NAMES: Final = {encoding: name for name, encoding in _ENCODINGS.items()}
_RATES: Final = (8000, 16000, 22050, 24000, 44100, 48000)
_SPEEDS: Final = {"slow": 0.8, "normal": 1.0, "fast": 1.2}
_SLOWEST, _FASTEST = 0.6, 2.0
_QUIETEST, _LOUDEST = 0.5, 2.0


class _Keywords(TypedDict, total=False):
    model: str
    voice: str
    language: str
    speed: str | float | None
    emotion: str | Sequence[str] | None
    volume: float | None
    base_url: str


class CartesiaTTS(SocketTTS):
    """Cartesia Sonic over a socket.

    ```python
    tts = CartesiaTTS(speed="fast")  # the key is CARTESIA_API_KEY
    ```
    """

    provider_key = "cartesia_tts"
    agent_settings = MappingProxyType({"language": "language", "voice": "voice"})
    vendor = VENDOR
    key_variable = "CARTESIA_API_KEY"

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        model: str = "sonic-3",
        voice: str = DefaultStr("f786b574-daa5-4673-aa0c-cbe3e8534c02"),
        language: str = DefaultStr("en"),
        sample_rate: int = DefaultInt(16000),
        encoding: str = DefaultStr("pcm_s16le"),
        speed: str | float | None = None,
        emotion: str | Sequence[str] | None = None,
        volume: float | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `CARTESIA_API_KEY`.
            model: Such as `"sonic-3"`.
            voice: Id of a voice.
            language: ISO 639-1.
            sample_rate: Hertz. Unless it or the encoding is given, a call chooses.
            encoding: `"pcm_s16le"`, `"pcm_mulaw"` or `"pcm_alaw"`.
            speed: `"slow"`, `"normal"`, `"fast"`, or 0.6 to 2.
            emotion: One word, or several.
            volume: 0.5 to 2.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if encoding not in _ENCODINGS:
            raise ValueError(f"CartesiaTTS encoding is one of {[*_ENCODINGS]}, not {encoding!r}")
        if sample_rate not in _RATES:
            raise ValueError(f"CartesiaTTS sample_rate is one of {_RATES}, not {sample_rate}")
        self.model = str(model)
        self.voice = str(voice)
        self.language = str(language)
        self.output_format = AudioFormat(_ENCODINGS[encoding], int(sample_rate))
        self._is_format_named = not (
            isinstance(encoding, DefaultStr) and isinstance(sample_rate, DefaultInt)
        )
        self._request: Mapping[str, object] = {
            "model_id": self.model,
            "voice": {"mode": "id", "id": str(voice)},
            "language": str(language),
            **_manner(self.model, speed, emotion, volume),
        }
        self._base_url = base_url
        super().__init__(
            api_key,
            {
                "model": self.model,
                "voice": voice,
                "language": language,
                "sample_rate": sample_rate,
                "encoding": encoding,
                "speed": speed,
                "emotion": emotion,
                "volume": volume,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, speaking mu-law at 8 kHz."""
        return cls(api_key, encoding="pcm_mulaw", sample_rate=8000, **options)

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, speaking PCM16 at 16 kHz."""
        return cls(api_key, encoding="pcm_s16le", sample_rate=16000, **options)

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if it may; see `with_output`."""
        if audio_format == self.output_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES:
            return False
        self.output_format = audio_format
        return True

    def _dialect(self) -> CartesiaVoiceDialect:
        return CartesiaVoiceDialect(self._base_url, self._key, self._request, self.output_format)


TTS = CartesiaTTS


def _manner(
    model: str,
    speed: str | float | None,
    emotion: str | Sequence[str] | None,
    volume: float | None,
) -> dict[str, object]:
    """How to speak, as the model takes it."""
    if volume is not None and not _QUIETEST <= volume <= _LOUDEST:
        raise ValueError(f"volume is 0.5 to 2, not {volume}")
    if isinstance(speed, str):
        if speed not in _SPEEDS:
            raise ValueError(f"speed is one of {[*_SPEEDS]} or a number, not {speed!r}")
    elif speed is not None and not _SLOWEST <= speed <= _FASTEST:
        raise ValueError(f"speed is 0.6 to 2, not {speed}")
    if isinstance(speed, str) and model.startswith(("sonic-2", "sonic-turbo")):
        return {"speed": speed}  # those know names only
    config: dict[str, object] = {}
    if speed is not None:
        config["speed"] = _SPEEDS[speed] if isinstance(speed, str) else speed
    if volume is not None:
        config["volume"] = volume
    if emotion:
        config["emotion"] = emotion if isinstance(emotion, str) else ",".join(emotion)
    return {"generation_config": config} if config else {}


class _Frame(msgspec.Struct):
    type: str
    context_id: str | None = None
    data: str | None = None
    title: str = ""
    message: str = ""
    error: str = ""
    status_code: int | None = None


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class CartesiaVoiceDialect(VoiceDialect):
    """The socket of contexts."""

    base_url: str
    key: str = field(repr=False)
    spoken_as: Mapping[str, object]
    output_format: AudioFormat

    def request(self) -> SocketRequest:
        """The key is in a header."""
        return SocketRequest(
            f"{self.base_url}/tts/websocket",
            headers={"Authorization": f"Bearer {self.key}", "Cartesia-Version": VERSION},
            vendor=VENDOR,
        )

    def begin(self, context: str, text: str) -> tuple[Message, ...]:
        """All of the text at once, so the vendor need not wait for more."""
        return (
            encoded(
                {
                    **self.spoken_as,
                    "context_id": context,
                    "transcript": text,
                    "output_format": {
                        "container": "raw",
                        "encoding": _NAMES[self.output_format.encoding],
                        "sample_rate": self.output_format.sample_rate,
                    },
                    "continue": False,
                }
            ),
        )

    def cancel(self, context: str) -> tuple[Message, ...]:
        """Stops what has not been made yet; late chunks carry the context's name and are dropped."""
        return (encoded({"context_id": context, "cancel": True}),)

    def read(self, message: Message) -> Sequence[VoiceNews]:
        """Sound, the end of a context, or why not."""
        frame = decoded(_FRAME, message, VENDOR)
        context = frame.context_id or ""
        match frame.type:
            case "chunk" if frame.data:
                return (Sound(context, _bytes(frame.data)),)
            case "done":
                return (Spoken(context),)
            case "error":
                said = ": ".join(
                    part for part in (frame.title, frame.message or frame.error) if part
                )
                error = refusal(VENDOR, frame.status_code or 400, said, secrets=(self.key,))
                return (Failed(error, context),)
            case _:
                return ()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"{VENDOR} sent audio that is not base64", vendor=VENDOR) from error
