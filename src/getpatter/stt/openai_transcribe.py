"""OpenAI's newer transcription models, asked about each utterance.

Protocol: https://platform.openai.com/docs/guides/speech-to-text

The route is that of `getpatter.stt.whisper`; these models answer with text only.
"""

from __future__ import annotations

from types import MappingProxyType

from getpatter.stt.whisper import BASE_URL, TranscriptionSTT

__all__ = ["STT", "OpenAITranscribeSTT"]


class OpenAITranscribeSTT(TranscriptionSTT):
    """`gpt-4o-transcribe` and its kin, asked about each utterance."""

    provider_key = "openai_transcribe"
    agent_settings = MappingProxyType({"language": "language"})

    def __init__(
        self,
        api_key: str | None = None,
        *,
        language: str | None = None,
        model: str = "gpt-4o-transcribe",
        response_format: str = "json",
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `OPENAI_API_KEY`.
            language: ISO 639-1; `None` lets the model find out.
            model: `"gpt-4o-transcribe"`, `"gpt-4o-mini-transcribe"` or a later one.
            response_format: `"json"` or `"text"`; `"verbose_json"` for models that have it.
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


STT = OpenAITranscribeSTT
