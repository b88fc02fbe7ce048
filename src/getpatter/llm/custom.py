"""`CustomLLM`: another name of `OpenAICompatibleLLM`."""

from __future__ import annotations

from getpatter.llm.openai_compatible import LLM

__all__ = ["LLM"]
