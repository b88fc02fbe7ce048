"""OpenAI's second generation of speech-to-speech models, over the same protocol as the first."""

from __future__ import annotations

from dataclasses import dataclass

from getpatter.engines.openai import OpenAIRealtime
from getpatter.types import DefaultStr


@dataclass(frozen=True, slots=True)
class OpenAIRealtime2(OpenAIRealtime):
    """As `OpenAIRealtime`, with a model that can reason (`reasoning_effort`)."""

    model: str = DefaultStr("gpt-realtime-2")


Realtime2 = OpenAIRealtime2
"""Its name in this module."""
