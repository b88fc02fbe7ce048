"""OpenAI's voices.

Protocol: https://platform.openai.com/docs/api-reference/audio/createSpeech

`POST /audio/speech` with `response_format: pcm`: a body of PCM16 at 24 kHz, the only raw format there is. The
call's resampler takes it to the carrier's rate.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Self, TypedDict, Unpack

from getpatter.net.messages import HttpRequest
from getpatter.net.service import encoded
from getpatter.tts._http import HttpTTS
from getpatter.types import PCM16_24K, DefaultStr

__all__ = ["TTS", "OpenAITTS"]

VENDOR: Final = "openai"
BASE_URL: Final = "https://api.openai.com/v1"
_SLOWEST, _FASTEST = 0.25, 4.0


class _Keywords(TypedDict, total=False):
    voice: str
    model: str
    instructions: str | None
    speed: float | None
    base_url: str


class OpenAITTS(HttpTTS):
    """OpenAI's voices, a request for each text.

    ```python
    tts = OpenAITTS(voice="marin", instructions="Friendly and calm.")  # the key is OPENAI_API_KEY
    ```
    """

    provider_key = "openai_tts"
    agent_settings = MappingProxyType({"voice": "voice"})
    vendor = VENDOR
    key_variable = "OPENAI_API_KEY"
    most_characters = 4096

    def __init__(
        self,
        api_key: str | None = None,
        *,
        voice: str = DefaultStr("alloy"),
        model: str = "gpt-4o-mini-tts",
        instructions: str | None = None,
        speed: float | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `OPENAI_API_KEY`.
            voice: Such as `"alloy"` or `"marin"`.
            model: `"gpt-4o-mini-tts"`, `"tts-1"`, `"tts-1-hd"` or a later one.
            instructions: How to speak. The `tts-1` models know none.
            speed: 0.25 to 4.
            base_url: Another address with the same route.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if instructions is not None and str(model).startswith("tts-1"):
            raise ValueError(f"{model} takes no instructions: use gpt-4o-mini-tts")
        if speed is not None and not _SLOWEST <= speed <= _FASTEST:
            raise ValueError(f"speed is 0.25 to 4, not {speed}")
        self.voice = str(voice)
        self.model = str(model)
        self.output_format = PCM16_24K
        self._instructions = instructions
        self._speed = speed
        self._base_url = base_url.rstrip("/")
        super().__init__(
            api_key,
            {
                "voice": voice,
                "model": self.model,
                "instructions": instructions,
                "speed": speed,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor: the vendor has one raw format only, and the call converts it."""
        return cls(api_key, **options)

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor: the vendor has one raw format only, and the call converts it."""
        return cls(api_key, **options)

    def _request(self, text: str) -> HttpRequest:
        body: dict[str, object] = {
            "model": self.model,
            "input": text,
            "voice": self.voice,
            "response_format": "pcm",
        }
        if self._instructions is not None:
            body["instructions"] = self._instructions
        if self._speed is not None:
            body["speed"] = self._speed
        return HttpRequest(
            "POST",
            f"{self._base_url}/audio/speech",
            {"authorization": f"Bearer {self._key}", "content-type": "application/json"},
            encoded(body).encode(),
        )


TTS = OpenAITTS
