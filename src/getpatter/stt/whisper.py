"""OpenAI's transcription of whole utterances.

Protocol: https://platform.openai.com/docs/api-reference/audio/createTranscription

`POST /audio/transcriptions`, multipart, one WAV file an utterance. `openai_transcribe` asks the same route with the
newer models, and other vendors have copied it, so `base_url` may lead elsewhere.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import Final, Self, TypedDict, Unpack

import msgspec

from getpatter.models import Word
from getpatter.net.messages import HttpRequest
from getpatter.net.service import decoded
from getpatter.stt._buffered import BufferedSTT, Understood, Utterance
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, DefaultStr

__all__ = ["STT", "TranscriptionSTT", "WhisperSTT"]

VENDOR: Final = "openai"
BASE_URL: Final = "https://api.openai.com/v1"
_FORMATS: Final = ("json", "text", "verbose_json")


class _Keywords(TypedDict, total=False):
    language: str
    model: str
    response_format: str
    base_url: str


class TranscriptionSTT(BufferedSTT):
    """What the recognisers of this route share; use `WhisperSTT` or `OpenAITranscribeSTT`."""

    provider_key = "whisper"
    agent_settings = MappingProxyType({"language": "language"})
    vendor = VENDOR
    key_variable = "OPENAI_API_KEY"

    def __init__(
        self,
        api_key: str | None,
        *,
        language: str | None,
        model: str,
        response_format: str,
        base_url: str,
    ) -> None:
        """Check and keep the options."""
        if response_format not in _FORMATS:
            raise ValueError(f"response_format is one of {_FORMATS}, not {response_format!r}")
        if response_format == "verbose_json" and not knows_details(model):
            raise ValueError(f"{model} has no verbose_json: use response_format='json'")
        self.language = str(language or "")
        self.model = str(model)
        self.input_format: AudioFormat = PCM16_16K
        self._response_format = response_format
        self._base_url = base_url.rstrip("/")
        super().__init__(
            api_key,
            {
                "language": language,
                "model": str(model),
                "response_format": response_format,
                "base_url": base_url,
            },
        )

    def _request(self, utterance: Utterance) -> HttpRequest:
        fields = {"model": self.model, "response_format": self._response_format}
        if self.language:
            fields["language"] = self.language
        if self._response_format == "verbose_json":
            fields["timestamp_granularities[]"] = "word"
        content_type, body = form(fields, "audio.wav", "audio/wav", utterance.wav())
        return HttpRequest(
            "POST",
            f"{self._base_url}/audio/transcriptions",
            {"authorization": f"Bearer {self._key}", "content-type": content_type},
            body,
            is_repeatable=True,
        )

    def _understood(self, body: bytes) -> Understood:
        return understood(body, self._response_format)


class WhisperSTT(TranscriptionSTT):
    """Whisper, asked about each utterance.

    ```python
    stt = WhisperSTT(language="en")  # the key is OPENAI_API_KEY
    ```
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        language: str = DefaultStr("en"),
        model: str = "whisper-1",
        response_format: str = "json",
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `OPENAI_API_KEY`.
            language: ISO 639-1; empty lets the model find out.
            model: `"whisper-1"`, or what `base_url` has.
            response_format: `"json"`, `"text"`, or `"verbose_json"` for words with times.
            base_url: Another address with the same route.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        super().__init__(
            api_key,
            language=language,
            model=model,
            response_format=response_format,
            base_url=base_url,
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with mu-law at 8 kHz."""
        made = cls(api_key, **options)
        made.input_format = MULAW_8K
        made._is_format_named = True
        return made


STT = WhisperSTT


def knows_details(model: str) -> bool:
    """Whether the model can say where each word is. The gpt models cannot."""
    return not str(model).startswith("gpt-")


class _Word(msgspec.Struct):
    word: str
    start: float = 0.0
    end: float = 0.0


class _Segment(msgspec.Struct):
    no_speech_prob: float = 0.0


class _Answer(msgspec.Struct):
    text: str
    language: str = ""
    words: list[_Word] = []
    segments: list[_Segment] = []


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def understood(body: bytes, response_format: str) -> Understood:
    """What an answer says.

    Raises:
        WireError: it is none.
    """
    if response_format == "text":
        return Understood(body.decode(errors="replace").strip())
    answer = decoded(_ANSWER, body, VENDOR)
    return Understood(
        answer.text.strip(),
        answer.language,
        tuple(Word(each.word, each.start * 1000, each.end * 1000) for each in answer.words),
        min((each.no_speech_prob for each in answer.segments), default=0.0),
    )


def form(fields: dict[str, str], file_name: str, file_type: str, file: bytes) -> tuple[str, bytes]:
    """A `multipart/form-data` body (RFC 7578) and its content type."""
    boundary = hashlib.sha256(file).hexdigest()[:32]
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        f"Content-Type: {file_type}\r\n\r\n"
    ).encode()
    body = b"".join([*parts, head, file, f"\r\n--{boundary}--\r\n".encode()])
    return f"multipart/form-data; boundary={boundary}", body
