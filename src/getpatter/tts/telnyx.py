"""Telnyx' voices, over one socket a call.

Protocol: https://developers.telnyx.com/docs/voice/tts/websocket-streaming

```
-> {"text": " "}                     the first message
-> {"text": "...", "flush": true}    <- {"audio": base64, "isFinal": false} ..., {"audio": null, "isFinal": true}
-> {"text": ""}                      what is left, then it closes
```

Sound does not say to which text it belongs, and nothing says when a text that was stopped (`{"force": true}`) has
ended: after an interruption the next text gets a new socket.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final
from urllib.parse import urlencode

import msgspec

from getpatter.errors import PatterConnectionError, WireError
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.tts._socket import Failed, SocketTTS, Sound, Spoken, VoiceDialect, VoiceNews
from getpatter.types import PCM16_16K, PCM16_24K, AudioFormat, DefaultStr, Encoding

__all__ = ["TTS", "TelnyxTTS"]

VENDOR: Final = "telnyx"
BASE_URL: Final = "wss://api.telnyx.com"
_RATES: Final = (8000, 16000, 22050, 24000, 44100)
_ONE_RATE: Final = frozenset({"kokorotts", "qwen3tts", "libritts"})
"""Models that speak at 24 kHz only."""
_IDLE_S: Final = 120


class TelnyxTTS(SocketTTS):
    """Telnyx text-to-speech over a socket."""

    provider_key = "telnyx_tts"
    agent_settings = MappingProxyType({"voice": "voice"})
    vendor = VENDOR
    key_variable = "TELNYX_API_KEY"
    most_characters = 1000

    def __init__(
        self,
        api_key: str | None = None,
        *,
        voice: str = DefaultStr("Telnyx.NaturalHD.astra"),
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `TELNYX_API_KEY`, the same as the carrier's.
            voice: `Provider.Model.Voice`. It has to be one that can be had as PCM.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or no voice.
        """
        provider, _, rest = voice.partition(".")
        if not provider or not rest:
            raise ValueError(f"TelnyxTTS voice is Provider.Model.Voice, not {voice!r}")
        self.voice = str(voice)
        self.model = f"{provider}.{rest.rpartition('.')[0]}".rstrip(".")
        """What is charged: the voice without its own name."""
        self._has_one_rate = rest.partition(".")[0].lower() in _ONE_RATE
        self.output_format = PCM16_24K if self._has_one_rate else PCM16_16K
        self._is_format_named = self._has_one_rate
        self._base_url = base_url
        super().__init__(api_key, {"voice": voice, "base_url": base_url})

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if it may; see `with_output`."""
        if audio_format == self.output_format:
            return True
        is_known = audio_format.encoding is Encoding.PCM16 and audio_format.sample_rate in _RATES
        if self._is_format_named or not is_known:
            return False
        self.output_format = audio_format
        return True

    def _dialect(self) -> TelnyxVoiceDialect:
        return TelnyxVoiceDialect(self._base_url, self._key, self.voice, self.output_format)


TTS = TelnyxTTS


class _Frame(msgspec.Struct, rename={"is_final": "isFinal"}):
    audio: str | None = None
    is_final: bool | None = None
    error: str | None = None


_FRAME: Final = msgspec.json.Decoder(_Frame)
_MPEG_SYNC: Final = 0xFF
_LAYER_MASK, _LAYER_3 = 0xE6, 0xE2


@dataclass(slots=True)
class TelnyxVoiceDialect(VoiceDialect):
    """`/v2/text-to-speech/speech`."""

    base_url: str
    key: str = field(repr=False)
    voice: str
    output_format: AudioFormat
    context: str = ""
    """The text that is being spoken."""
    has_sounded: bool = False

    most_contexts: ClassVar[int] = 1
    survives_cancel: ClassVar[bool] = False

    def request(self) -> SocketRequest:
        """The key is in a header."""
        query = urlencode(
            {
                "voice": self.voice,
                "audio_format": "linear16",
                "sample_rate": str(self.output_format.sample_rate),
                "inactivity_timeout": str(_IDLE_S),
            }
        )
        return SocketRequest(
            f"{self.base_url}/v2/text-to-speech/speech?{query}",
            headers={"Authorization": f"Bearer {self.key}"},
            vendor=VENDOR,
        )

    def opening(self) -> tuple[Message, ...]:
        """A space: settings would be in the same message."""
        return ('{"text":" "}',)

    def begin(self, context: str, text: str) -> tuple[Message, ...]:
        """The text, to be spoken now and not at the next full stop."""
        self.context = context
        self.has_sounded = False
        return (encoded({"text": text, "flush": True}),)

    def ending(self) -> tuple[Message, ...]:
        """The vendor then closes."""
        return ('{"text":""}',)

    def read(self, message: Message) -> Sequence[VoiceNews]:
        """Sound, the end of a text, or why not."""
        frame = decoded(_FRAME, message, VENDOR)
        if frame.error is not None:
            text = clean_text(frame.error, (self.key,))
            return (Failed(PatterConnectionError(f"{VENDOR}: {text}", vendor=VENDOR)),)
        news: list[VoiceNews] = []
        if frame.audio:
            sound = _bytes(frame.audio)
            if not self.has_sounded and _is_mpeg(sound):
                return (Failed(self._compressed(), self.context),)
            self.has_sounded = True
            news.append(Sound(self.context, sound))
        if frame.is_final:
            news.append(Spoken(self.context))
        return news

    def _compressed(self) -> PatterConnectionError:
        return PatterConnectionError(
            f"{VENDOR}: the voice {self.voice} comes as MP3 only, which cannot be played on a call; "
            "choose another, such as Telnyx.NaturalHD.astra",
            vendor=VENDOR,
            retryable=False,
        )


def _bytes(audio: str) -> bytes:
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"{VENDOR} sent sound that is no base64", vendor=VENDOR) from error


def _is_mpeg(sound: bytes) -> bool:
    """Whether it begins as MP3 does: some voices answer with it whatever they are asked for."""
    if sound[:3] == b"ID3":
        return True
    head = sound[:3]
    return (
        len(head) == 3  # noqa: PLR2004 - sync, version and layer, bit rate and sample rate
        and head[0] == _MPEG_SYNC
        and head[1] & _LAYER_MASK == _LAYER_3
        and head[2] >> 4 not in {0, 0xF}
        and head[2] >> 2 & 3 != 3  # noqa: PLR2004 - a reserved sample rate
    )
