"""Models run by Groq.

Protocol: https://console.groq.com/docs/api-reference#chat-create (OpenAI's Chat Completions; tokens are
reported in `x_groq` of the last chunk).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, Final, Unpack

import msgspec

from getpatter.llm._chat import ChatChunk, ChatModel, ChatOptions, Usage
from getpatter.llm._model import FIRST_TOKEN_S
from getpatter.types import DefaultStr

_BASE_URL: Final = "https://api.groq.com/openai/v1"


class GroqOptions(ChatOptions, total=False):
    """What a request may ask for beside the conversation."""

    reasoning_format: str


class _Extra(msgspec.Struct):
    usage: Usage | None = None


class _Chunk(ChatChunk):
    x_groq: _Extra | None = None

    def reported_usage(self) -> Usage | None:
        if self.usage is not None:
            return self.usage
        return self.x_groq.usage if self.x_groq is not None else None


class LLM(ChatModel):
    """Models on Groq's hardware. Known as `GroqLLM` too."""

    provider_key = "groq"
    agent_settings = MappingProxyType({"model": "model"})
    key_variable = "GROQ_API_KEY"
    option_names: ClassVar[frozenset[str]] = frozenset(GroqOptions.__annotations__)
    chunk_decoder = msgspec.json.Decoder(_Chunk)

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str = DefaultStr("llama-3.3-70b-versatile"),
        base_url: str = _BASE_URL,
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[GroqOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variable `GROQ_API_KEY`.
            model: Any chat model of the vendor.
            base_url: Another address that speaks the same protocol.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `response_format`, `tool_choice`,
                `parallel_tool_calls`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`,
                `reasoning_format`, `service_tier`, `user`; sent as they are.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        super().__init__(
            api_key, model=model, base_url=base_url, timeout=timeout, sampling={**sampling}
        )
