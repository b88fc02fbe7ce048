"""Hermes Agent as the model of a call: it runs its own tools and remembers its callers.

Protocol: https://hermes-agent.nousresearch.com/docs/user-guide/features/api-server (OpenAI's Chat Completions)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Unpack

from getpatter.llm._chat import ChatOptions
from getpatter.llm._sessions import KeyFactory, KeySource, SessionModel, Sessions

_BASE_URL: Final = "http://127.0.0.1:8642/v1"
_MODEL: Final = "hermes-agent"
_KEY_HEADER: Final = "X-Hermes-Session-Key"
_TIMEOUT_S: Final = 120.0


class LLM(SessionModel):
    """A Hermes Agent's API server. Known as `HermesLLM` too."""

    provider_key = "hermes"
    key_variable = "API_SERVER_KEY"
    wire_names: ClassVar[Mapping[str, str]] = {}

    def __init__(  # noqa: PLR0913 - the keywords are the documented ones
        self,
        api_key: str | None = None,
        *,
        base_url: str = _BASE_URL,
        model: str | None = None,
        timeout: float = _TIMEOUT_S,
        session_key: str | None = None,
        session_key_from: KeySource | None = None,
        session_key_factory: KeyFactory | None = None,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variable `API_SERVER_KEY`.
            base_url: Address of the server, with `/v1`.
            model: Its name for itself; it answers to any.
            timeout: Seconds to the first word, and between one and the next.
            session_key: Whose memory it uses, the same for all calls. Neither shown nor pickled.
            session_key_from: `"caller"`: a memory for each caller, by `hash_caller()`; `"call_id"`: for each call.
            session_key_factory: Makes the key from `{"call_id", "caller"}`.
            **sampling: As for any server that speaks this protocol.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        self._sessions = Sessions(
            key_header=_KEY_HEADER,
            key=session_key,
            key_from=session_key_from,
            key_factory=session_key_factory,
        )
        shown = {"session_key_from": session_key_from, "session_key_factory": session_key_factory}
        super().__init__(
            api_key,
            model=model or _MODEL,
            base_url=base_url,
            timeout=timeout,
            sampling={**sampling},
            options={name: value for name, value in shown.items() if value is not None},
        )
