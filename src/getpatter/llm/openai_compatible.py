"""Any server that speaks OpenAI's Chat Completions: vLLM, Ollama, llama.cpp, a gateway, a program of your own.

Protocol: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Unpack

from getpatter.config import credential, optional_credential
from getpatter.llm._chat import ChatOptions
from getpatter.llm._sessions import KeyFactory, KeySource, SessionModel, Sessions

_TIMEOUT_S: Final = 60.0
_NO_KEY: Final = "no-key"


class LLM(SessionModel):
    """A server of your choice. Known as `OpenAICompatibleLLM` and `CustomLLM` too."""

    provider_key = "openai_compatible"
    wire_names: ClassVar[Mapping[str, str]] = {}  # `max_tokens` is the name that every server knows

    def __init__(  # noqa: PLR0913 - the keywords are the documented ones
        self,
        api_key: str | None = None,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None = None,
        timeout: float = _TIMEOUT_S,
        extra_headers: Mapping[str, str] | None = None,
        session_user_prefix: str | None = None,
        session_id_header: str | None = None,
        session_id_prefix: str = "",
        session_key_header: str | None = None,
        session_key: str | None = None,
        session_key_factory: KeyFactory | None = None,
        session_key_from: KeySource | None = None,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Sent as a bearer token; many servers of one's own need none.
            base_url: Its address up to, and without, `/chat/completions`.
            model: As the server calls it.
            api_key_env: Environment variable of the key.
            timeout: Seconds to the first word or tool call, and between one and the next.
            extra_headers: Sent with every request. They may be secret: neither shown nor pickled.
            session_user_prefix: Send `user` in the body: this and the id of the call.
            session_id_header: Send the id of the call in this header, after `session_id_prefix`.
            session_id_prefix: See there.
            session_key_header: Send a session key in this header; it comes from one of the following three.
            session_key: The same for all calls. Neither shown nor pickled.
            session_key_factory: Makes it from `{"call_id", "caller"}`. A whole number in its result is hashed.
            session_key_from: `"caller"`: `hash_caller()` of the number, or the call's id where there is none;
                `"call_id"`.
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
        self._sessions = Sessions(
            user_prefix=session_user_prefix,
            id_header=session_id_header,
            id_prefix=session_id_prefix,
            key_header=session_key_header,
            key=session_key,
            key_factory=session_key_factory,
            key_from=session_key_from,
        )
        shown: dict[str, object] = {
            "api_key_env": api_key_env,
            "session_user_prefix": session_user_prefix,
            "session_id_header": session_id_header,
            "session_id_prefix": session_id_prefix or None,
            "session_key_header": session_key_header,
            "session_key_factory": session_key_factory,
            "session_key_from": session_key_from,
        }
        super().__init__(
            key or _NO_KEY,
            model=model,
            base_url=base_url,
            timeout=timeout,
            sampling={**sampling},
            options={name: value for name, value in shown.items() if value is not None},
        )
        self._key = key
        self._extra_headers = dict(extra_headers or {})
