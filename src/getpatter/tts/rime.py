"""Rime's voices, over HTTP.

Protocol: https://docs.rime.ai/api-reference/endpoint/streaming

`POST /v1/rime-tts`; the `Accept` header chooses the sound: `audio/PCMU` is mu-law, `audio/L16` is PCM16
(little-endian here, whatever the name says), both without a header.
"""

from __future__ import annotations

from typing import Final, Self, TypedDict, Unpack

from getpatter.net.messages import HttpRequest
from getpatter.net.service import encoded
from getpatter.tts._http import HttpTTS
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, DefaultInt, Encoding

__all__ = ["TTS", "RimeTTS"]

VENDOR: Final = "rime"
BASE_URL: Final = "https://users.rime.ai"
_RATES: Final = (8000, 16000, 22050, 24000, 44100, 48000)
_ACCEPT: Final = {Encoding.PCM16: "audio/L16", Encoding.MULAW: "audio/PCMU"}


class _Keywords(TypedDict, total=False):
    model: str
    speaker: str | None
    lang: str
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    repetition_penalty: float | None
    speed_alpha: float | None
    reduce_latency: bool | None
    pause_between_brackets: bool | None
    phonemize_between_brackets: bool | None
    base_url: str


class RimeTTS(HttpTTS):
    """Rime's voices, a request for each text.

    ```python
    tts = RimeTTS(model="mistv2", speed_alpha=1.1, reduce_latency=True)  # the key is RIME_API_KEY
    ```
    """

    provider_key = VENDOR
    vendor = VENDOR
    key_variable = "RIME_API_KEY"
    most_characters = 500

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        model: str = "arcana",
        speaker: str | None = None,
        lang: str = "eng",
        sample_rate: int = DefaultInt(16000),
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        repetition_penalty: float | None = None,
        speed_alpha: float | None = None,
        reduce_latency: bool | None = None,
        pause_between_brackets: bool | None = None,
        phonemize_between_brackets: bool | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `RIME_API_KEY`.
            model: Such as `"arcana"` or `"mistv2"`.
            speaker: A voice; `None` is `"cove"` for the Mist models and `"astra"` for others.
            lang: ISO 639-3.
            sample_rate: Hertz, of PCM16. Unless it is given, a call chooses.
            temperature: Arcana only; so are `top_p`, `max_tokens` and `repetition_penalty`.
            top_p: See `temperature`.
            max_tokens: See `temperature`.
            repetition_penalty: See `temperature`.
            speed_alpha: Mist only, as are the next three; below 1 is faster.
            reduce_latency: Say numbers and the like without working them out first.
            pause_between_brackets: `<200>` in a text is a pause of 200 ms.
            phonemize_between_brackets: `{...}` in a text is how it sounds.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the model does not know.
        """
        arcana: dict[str, object] = {
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "repetition_penalty": repetition_penalty,
        }
        mist: dict[str, object] = {
            "speed_alpha": speed_alpha,
            "reduce_latency": reduce_latency,
            "pause_between_brackets": pause_between_brackets,
            "phonemize_between_brackets": phonemize_between_brackets,
        }
        if sample_rate not in _RATES:
            raise ValueError(f"RimeTTS sample_rate is one of {_RATES}, not {sample_rate}")
        self.model = str(model)
        is_mist = self.model.startswith("mist")
        _refuse(self.model, arcana if is_mist else {})
        _refuse(self.model, mist if self.model.startswith("arcana") else {})
        self.speaker = speaker or ("cove" if is_mist else "astra")
        self.output_format = AudioFormat(Encoding.PCM16, int(sample_rate))
        self._is_format_named = not isinstance(sample_rate, DefaultInt)
        given = {name: value for name, value in (arcana | mist).items() if value is not None}
        self._body: dict[str, object] = {
            "speaker": self.speaker,
            "modelId": self.model,
            "lang": lang,
            **{_camel(name) if name in mist else name: value for name, value in given.items()},
        }
        self._base_url = base_url.rstrip("/")
        super().__init__(
            api_key,
            {
                "model": self.model,
                "speaker": self.speaker,
                "lang": lang,
                "sample_rate": sample_rate,
                **given,
                "base_url": base_url,
            },
        )

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
        is_known = audio_format.encoding in _ACCEPT and audio_format.sample_rate in _RATES
        if self._is_format_named or not is_known:
            return False
        self.output_format = audio_format
        return True

    def _request(self, text: str) -> HttpRequest:
        body = {**self._body, "text": text, "samplingRate": self.output_format.sample_rate}
        return HttpRequest(
            "POST",
            f"{self._base_url}/v1/rime-tts",
            {
                "authorization": f"Bearer {self._key}",
                "accept": _ACCEPT[self.output_format.encoding],
                "content-type": "application/json",
            },
            encoded(body).encode(),
        )


TTS = RimeTTS


def _refuse(model: str, options: dict[str, object]) -> None:
    unknown = [name for name, value in options.items() if value is not None]
    if unknown:
        raise ValueError(f"the model {model} does not know {', '.join(unknown)}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
