"""Any server that speaks OpenAI's Chat Completions: vLLM, Ollama, llama.cpp, a gateway, a program of your own.

Protocol: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Unpack

from getpatter.config import credential, optional_credential
from getpatter.llm._chat import ChatModel, ChatOptions

_TIMEOUT_S: Final = 60.0
_NO_KEY: Final = "no-key"


class LLM(ChatModel):
    """A server of your choice. Known as `OpenAICompatibleLLM` and `CustomLLM` too."""

    provider_key = "openai_compatible"
    wire_names: ClassVar[Mapping[str, str]] = {}  # `max_tokens` is the name that every server knows

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None = None,
        timeout: float = _TIMEOUT_S,
        extra_headers: Mapping[str, str] | None = None,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Sent as a bearer token; many servers of one's own need none.
            base_url: Its address up to, and without, `/chat/completions`.
            model: As the server calls it.
            api_key_env: Environment variable of the key.
            timeout: Seconds to the first word or tool call, and between one and the next.
            extra_headers: Sent with every request. They may be secret, so `repr` shows their names only.
            **sampling: `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `response_format`, `tool_choice`,
                `parallel_tool_calls`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`,
                `service_tier`, `user`; sent as they are.

        Raises:
            ValueError: `api_key_env` is named but empty, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        owner = type(self).__name__
        if api_key_env:
            key = credential(api_key_env, api_key, owner=owner)
        else:
            key = optional_credential((), api_key, owner=owner)
        super().__init__(
            key or _NO_KEY,
            model=model,
            base_url=base_url,
            timeout=timeout,
            sampling={**sampling},
            options={"api_key_env": api_key_env} if api_key_env else {},
        )
        self._key = key
        self._extra_headers = dict(extra_headers or {})

    def _headers(self, call_id: str) -> dict[str, str]:
        return {**super()._headers(call_id), **self._extra_headers}
