"""Models behind Inworld's router: many vendors' models, one key.

Protocol: https://docs.inworld.ai/router/openai-compatibility (OpenAI's Chat Completions)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Unpack

from getpatter.llm._chat import ChatModel, ChatOptions
from getpatter.llm._model import FIRST_TOKEN_S

_BASE_URL: Final = "https://api.inworld.ai/v1"


class LLM(ChatModel):
    """Inworld's router. Known as `InworldLLM` too."""

    provider_key = "inworld_llm"
    key_variable = "INWORLD_API_KEY"
    wire_names: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str,
        base_url: str = _BASE_URL,
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variable `INWORLD_API_KEY`.
            model: A router (`"inworld/my-router"`), or a model of the catalogue (`"vendor/model"`).
            base_url: Another address that speaks the same protocol.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `response_format`, `tool_choice`,
                `parallel_tool_calls`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`,
                `service_tier`, `user`; sent as they are.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        super().__init__(
            api_key, model=model, base_url=base_url, timeout=timeout, sampling={**sampling}
        )
