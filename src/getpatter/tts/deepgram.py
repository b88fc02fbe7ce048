"""Deepgram's voices (Aura), over one socket a call.

Protocol: https://developers.deepgram.com/reference/text-to-speech/speak-streaming

```
-> {"type": "Speak", "text"}, {"type": "Flush"}    <- binary sound ..., Flushed
-> {"type": "Clear"}                               <- Cleared   what was on its way before it is of no use
-> {"type": "Close"}
```

Sound does not say to which text it belongs, so one text is spoken at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import urlencode

import msgspec

from getpatter.errors import PatterConnectionError
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.tts._socket import Failed, SocketTTS, Sound, Spoken, VoiceDialect, VoiceNews
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Encoding

__all__ = ["TTS", "DeepgramTTS"]

VENDOR: Final = "deepgram"
BASE_URL: Final = "wss://api.deepgram.com"
_RATES: Final = {
    Encoding.PCM16: (8000, 16000, 24000, 32000, 48000),
    Encoding.MULAW: (8000, 16000),
    Encoding.ALAW: (8000, 16000),
}
_NAMES: Final = {
    Encoding.PCM16: "linear16",
    Encoding.MULAW: "mulaw",
    Encoding.ALAW: "alaw",
}


class _Keywords(TypedDict, total=False):
    model: str
    base_url: str


class DeepgramTTS(SocketTTS):
    """Deepgram Aura over a socket."""

    provider_key = "deepgram_tts"
    vendor = VENDOR
    key_variable = "DEEPGRAM_API_KEY"
    most_characters = 2000

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str = "aura-2-thalia-en",
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `DEEPGRAM_API_KEY`.
            model: Model and voice in one, such as `"aura-2-thalia-en"`.
            base_url: Another address of the service, such as that of the EU or one of your own.

        Raises:
            ValueError: no key.
        """
        self.model = str(model)
        self.output_format = PCM16_16K
        self._is_format_named = False
        self._base_url = base_url
        super().__init__(api_key, {"model": self.model, "base_url": base_url})

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, speaking mu-law at 8 kHz."""
        made = cls(api_key, **options)
        made.output_format = MULAW_8K
        made._is_format_named = True
        return made

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, speaking PCM16 at 16 kHz."""
        made = cls(api_key, **options)
        made.output_format = PCM16_16K
        made._is_format_named = True
        return made

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if it may; see `with_output`."""
        if audio_format == self.output_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES[audio_format.encoding]:
            return False
        self.output_format = audio_format
        return True

    def _dialect(self) -> DeepgramVoiceDialect:
        return DeepgramVoiceDialect(self._base_url, self._key, self.model, self.output_format)


TTS = DeepgramTTS


class _Frame(msgspec.Struct):
    type: str
    code: str = ""
    description: str = ""
    err_msg: str = ""


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class DeepgramVoiceDialect(VoiceDialect):
    """`/v1/speak`."""

    base_url: str
    key: str = field(repr=False)
    model: str
    output_format: AudioFormat
    context: str = ""
    """The text that is being spoken."""
    is_clearing: bool = False
    """It is no longer wanted; until the vendor has said so, all sound is of it."""

    most_contexts: ClassVar[int] = 1

    def request(self) -> SocketRequest:
        """The key is in a header."""
        query = urlencode(
            {
                "model": self.model,
                "encoding": _NAMES[self.output_format.encoding],
                "sample_rate": str(self.output_format.sample_rate),
            }
        )
        return SocketRequest(
            f"{self.base_url}/v1/speak?{query}",
            headers={"Authorization": f"Token {self.key}"},
            vendor=VENDOR,
        )

    def begin(self, context: str, text: str) -> tuple[Message, ...]:
        """The text, and that it shall be spoken now."""
        self.context = context
        self.is_clearing = False
        return (encoded({"type": "Speak", "text": text}), '{"type":"Flush"}')

    def cancel(self, context: str) -> tuple[Message, ...]:
        """Throw away what is left."""
        self.is_clearing = True
        return ('{"type":"Clear"}',)

    def ending(self) -> tuple[Message, ...]:
        """The vendor then closes."""
        return ('{"type":"Close"}',)

    def read(self, message: Message) -> Sequence[VoiceNews]:
        """Sound, the end of a text, or why not."""
        if isinstance(message, bytes):
            return () if self.is_clearing else (Sound(self.context, message),)
        frame = decoded(_FRAME, message, VENDOR)
        match frame.type:
            case "Flushed" if not self.is_clearing:
                return (Spoken(self.context),)
            case "Cleared" if self.is_clearing:
                self.is_clearing = False
                return (Spoken(self.context),)
            case "Error":
                said = " ".join(
                    part for part in (frame.code, frame.description, frame.err_msg) if part
                )
                text = clean_text(said, (self.key,))
                return (Failed(PatterConnectionError(f"{VENDOR}: {text}", vendor=VENDOR)),)
            case _:
                return ()
