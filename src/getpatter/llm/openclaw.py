"""An agent of an OpenClaw gateway as the model of a call.

Protocol: https://docs.openclaw.ai/gateway/openai-http-api (OpenAI's Chat Completions)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Unpack

from getpatter.llm._chat import ChatOptions
from getpatter.llm._sessions import SessionModel, Sessions

_BASE_URL: Final = "http://127.0.0.1:18789/v1"
_TIMEOUT_S: Final = 120.0


class LLM(SessionModel):
    """An agent behind an OpenClaw gateway. Known as `OpenClawLLM` too."""

    provider_key = "openclaw"
    key_variable = "OPENCLAW_API_KEY"
    wire_names: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        agent: str,
        *,
        base_url: str = _BASE_URL,
        api_key: str | None = None,
        timeout: float = _TIMEOUT_S,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is connected yet. Each call is a session of its own with the agent.

        Args:
            agent: Id of the agent that answers, such as `"main"`.
            base_url: Address of the gateway, with `/v1`. Its Chat Completions have to be enabled there.
            api_key: The gateway's token or password, else the environment variable `OPENCLAW_API_KEY`.
            timeout: Seconds to the first word, and between one and the next.
            **sampling: As for any server that speaks this protocol.

        Raises:
            ValueError: no key, no agent, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        if not agent or not agent.isascii() or not agent.isprintable():
            raise ValueError(f"{type(self).__name__}: agent must be the id of an agent: {agent!r}")
        self._sessions = Sessions(user_prefix="call-")
        self._extra_headers = {"x-openclaw-agent-id": agent}
        super().__init__(
            api_key,
            model=f"openclaw:{agent}",
            base_url=base_url,
            timeout=timeout,
            sampling={**sampling},
        )
        self._options = {"agent": agent, "base_url": base_url, "timeout": timeout, **sampling}
