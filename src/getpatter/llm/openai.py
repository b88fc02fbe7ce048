"""OpenAI's text models.

Protocol: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import ClassVar, Final, Unpack

from getpatter import config
from getpatter.llm._chat import ChatModel, ChatOptions
from getpatter.llm._model import FIRST_TOKEN_S
from getpatter.types import DefaultStr

DEFAULT_MODEL: Final = "gpt-4o-mini"
_BASE_URL: Final = "https://api.openai.com/v1"


_TEXT_MODEL: Final = re.compile(r"(?:gpt-|chatgpt-|o\d|ft:)", re.IGNORECASE)
_OTHER_MODEL: Final = re.compile(r"realtime|live|audio|tts|transcribe|image", re.IGNORECASE)


def is_text_model(name: str) -> bool:
    """Whether `name` is one of this vendor's models that answer text with text."""
    return _TEXT_MODEL.match(name) is not None and _OTHER_MODEL.search(name) is None


class OpenAIOptions(ChatOptions, total=False):
    """What a request may ask for beside the conversation."""

    prompt_cache_key: str
    verbosity: str


class LLM(ChatModel):
    """OpenAI's Chat Completions. Known as `OpenAILLM` too."""

    provider_key = "openai"
    agent_settings = MappingProxyType({"model": "model"})
    key_variable = "OPENAI_API_KEY"
    option_names: ClassVar[frozenset[str]] = frozenset(OpenAIOptions.__annotations__)

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str = DefaultStr(DEFAULT_MODEL),
        base_url: str = "",
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[OpenAIOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variable `OPENAI_API_KEY`.
            model: Any text model of the vendor.
            base_url: Another address that speaks the same protocol; else `OPENAI_BASE_URL`, else the vendor's.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `response_format`, `tool_choice`,
                `parallel_tool_calls`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`, `verbosity`,
                `service_tier`, `prompt_cache_key`, `user`; sent as they are.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        super().__init__(
            api_key,
            model=model,
            base_url=base_url or config.setting("OPENAI_BASE_URL", _BASE_URL),
            timeout=timeout,
            sampling={**sampling},
        )
