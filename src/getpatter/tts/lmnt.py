"""LMNT's voices, over HTTP.

Protocol: https://docs.lmnt.com/api-reference/speech/stream-speech

`POST /v1/ai/speech/bytes`; the body is the sound as it is made, in PCM16 or mu-law without a header.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Self, TypedDict, Unpack

from getpatter.net.messages import HttpRequest
from getpatter.net.service import encoded
from getpatter.tts._http import HttpTTS
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["LMNTTTS", "TTS"]

VENDOR: Final = "lmnt"
BASE_URL: Final = "https://api.lmnt.com"
_RATES: Final = (8000, 16000, 24000)
_FORMATS: Final = {
    "raw": Encoding.PCM16,
    "pcm_s16le": Encoding.PCM16,
    "wav": Encoding.PCM16,
    "ulaw": Encoding.MULAW,
}


class _Keywords(TypedDict, total=False):
    model: str
    voice: str
    language: str | None
    temperature: float
    top_p: float
    base_url: str


class LMNTTTS(HttpTTS):
    """LMNT's voices, a request for each text."""

    provider_key = VENDOR
    agent_settings = MappingProxyType({"voice": "voice"})
    vendor = VENDOR
    key_variable = "LMNT_API_KEY"
    most_characters = 5000

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        model: str = "blizzard",
        voice: str = DefaultStr("leah"),
        language: str | None = None,
        format: str = DefaultStr("raw"),  # noqa: A002 - as documented
        sample_rate: int = DefaultInt(16000),
        temperature: float = 1.0,
        top_p: float = 0.8,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `LMNT_API_KEY`.
            model: `"blizzard"` or `"aurora"`.
            voice: Id of a voice.
            language: ISO 639-1; `None` is `"auto"` for Blizzard and `"en"` for Aurora.
            format: `"raw"` (PCM16), `"wav"` (taken apart) or `"ulaw"`. Unless it or the rate is given, a call
                chooses. What is compressed cannot be played on a call.
            sample_rate: 8000, 16000 or 24000.
            temperature: How freely it speaks, at least 0.
            top_p: 0 to 1.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if format not in _FORMATS:
            raise ValueError(f"LMNTTTS format is one of {[*_FORMATS]}, not {format!r}")
        if sample_rate not in _RATES:
            raise ValueError(f"LMNTTTS sample_rate is one of {_RATES}, not {sample_rate}")
        if temperature < 0 or not 0 <= top_p <= 1:
            raise ValueError(f"temperature {temperature} or top_p {top_p} is out of range")
        self.model = str(model)
        self.voice = str(voice)
        self.language = language or ("en" if self.model == "aurora" else "auto")
        self.output_format = AudioFormat(_FORMATS[format], int(sample_rate))
        self._is_format_named = not (
            isinstance(format, DefaultStr) and isinstance(sample_rate, DefaultInt)
        )
        self._wire_format = "pcm_s16le" if format == "raw" else str(format)
        self._body: dict[str, object] = {
            "voice": str(voice),
            "model": self.model,
            "language": self.language,
            "temperature": temperature,
            "top_p": top_p,
        }
        self._base_url = base_url.rstrip("/")
        super().__init__(
            api_key,
            {
                "model": self.model,
                "voice": voice,
                "language": self.language,
                "format": format,
                "sample_rate": sample_rate,
                "temperature": temperature,
                "top_p": top_p,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, speaking mu-law at 8 kHz."""
        return cls(api_key, format="ulaw", sample_rate=MULAW_8K.sample_rate, **options)

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, speaking PCM16 at 16 kHz."""
        return cls(api_key, format="raw", sample_rate=PCM16_16K.sample_rate, **options)

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if it may; see `with_output`."""
        if audio_format == self.output_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES:
            return False
        match audio_format.encoding:
            case Encoding.PCM16:
                self._wire_format = "pcm_s16le"
            case Encoding.MULAW:
                self._wire_format = "ulaw"
            case Encoding.ALAW:
                return False
        self.output_format = audio_format
        return True

    def _request(self, text: str) -> HttpRequest:
        body = {
            **self._body,
            "text": text,
            "format": self._wire_format,
            "sample_rate": self.output_format.sample_rate,
        }
        return HttpRequest(
            "POST",
            f"{self._base_url}/v1/ai/speech/bytes",
            {"X-API-Key": self._key, "content-type": "application/json"},
            encoded(body).encode(),
        )


TTS = LMNTTTS
