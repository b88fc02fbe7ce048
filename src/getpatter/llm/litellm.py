"""Any model that the LiteLLM package can reach, through that package (extra `litellm`).

Documentation: https://docs.litellm.ai/docs/completion/stream (`acompletion`; its chunks have OpenAI's form)

It is the one model here that does not speak to its vendor itself: addresses, headers and retries are LiteLLM's. What it
gives is read like any other answer, but it ends an answer that was cut off as if it were whole, so that goes unnoticed.
The package takes seconds to import, so `warmup()` does that in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Final, Unpack

from getpatter import config
from getpatter.errors import ErrorCode, PatterConnectionError, PatterError
from getpatter.llm._chat import ChatModel, ChatOptions, chat_body
from getpatter.llm._model import FIRST_TOKEN_S, Who
from getpatter.llm._talk import Message
from getpatter.net.refusals import clean_text, refusal, unreachable

_PACKAGE: Final = "litellm"


class LLM(ChatModel):
    """A model by way of LiteLLM. Known as `LiteLLMLLM` too."""

    provider_key = "litellm"
    key_variable = "LITELLM_API_KEY"
    wire_names: ClassVar[Mapping[str, str]] = {}
    has_base_url: ClassVar[bool] = False

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str = "gpt-4o-mini",
        api_base: str | None = None,
        drop_params: bool = True,
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is imported or connected yet.

        Args:
            api_key: Of the model's vendor, or of a LiteLLM proxy; else the environment variable `LITELLM_API_KEY`.
            model: As LiteLLM calls it, such as `"anthropic/claude-haiku-4-5"`.
            api_base: Another address of the vendor, or that of a proxy.
            drop_params: Leave out the keywords that the model's vendor does not know, instead of an error.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `response_format`, `tool_choice`,
                `parallel_tool_calls`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`,
                `service_tier`, `user`.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
            ImportError: the extra is not installed.
        """
        super().__init__(
            api_key,
            model=model,
            base_url=api_base or "",
            timeout=timeout,
            options={"drop_params": drop_params},
            sampling={**sampling},
        )
        self._options = {
            "model": model,
            "api_base": api_base,
            "drop_params": drop_params,
            "timeout": timeout,
            **sampling,
        }
        self._drop_params = drop_params
        if find_spec(_PACKAGE) is None:
            raise ImportError(
                "LiteLLMLLM needs the litellm package: pip install 'getpatter[litellm]'"
            )

    async def warmup(self) -> None:
        """Import the package, in a thread. Connections are its own affair."""
        await asyncio.to_thread(_acompletion)

    async def _incoming(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> AsyncGenerator[bytes, None]:
        """LiteLLM's chunks as the events that the vendor would have sent."""
        del who
        wanted = chat_body(self._model, messages, tools, self._sampling)
        chunks: Any = None
        try:
            ask = await asyncio.to_thread(_acompletion)
            chunks = await ask(
                **wanted,
                api_key=self._key,
                api_base=self._base_url or None,
                drop_params=self._drop_params,
                num_retries=0,
                max_retries=0,
                timeout=self._timeout,
            )
            async for chunk in chunks:
                text: str = chunk.model_dump_json(exclude_none=True)
                yield b"data: " + text.encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        except PatterError:
            raise
        except Exception as error:  # its errors are those of every vendor's client
            raise self._of_theirs(error) from error
        finally:
            await _hang_up(chunks)

    def _of_theirs(self, error: Exception) -> PatterError:
        status: object = getattr(error, "status_code", None)
        said = str(getattr(error, "message", "") or error)
        kind = type(error).__name__
        if isinstance(error, TimeoutError) or "Timeout" in kind:
            return PatterConnectionError(
                f"{self.provider_key}: {self._model} did not answer in time",
                code=ErrorCode.TIMEOUT,
                vendor=self.provider_key,
            )
        if "Connection" in kind or not isinstance(status, int):
            return unreachable(self.provider_key, clean_text(f"{kind}: {said}", (self._key,)))
        return refusal(self.provider_key, status, said, secrets=(self._key,))


def _acompletion() -> Callable[..., Any]:
    """Its one function. It would fetch a price list over the network at its import, unless it is told not to."""
    config.set_default("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    package: Any = import_module(_PACKAGE)
    package.telemetry = False
    package.suppress_debug_info = True
    ask: Callable[..., Any] = package.acompletion
    return ask


async def _hang_up(chunks: Any) -> None:
    """End an answer that nobody reads on: the wrapper does not always do so itself."""
    inner = getattr(chunks, "completion_stream", None)
    for each in (chunks, inner, getattr(inner, "response", None)):
        for name in ("aclose", "close"):
            close = getattr(each, name, None)
            if callable(close):
                done = close()
                if asyncio.iscoroutine(done):
                    await done
                break
