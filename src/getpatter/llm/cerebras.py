"""Models run by Cerebras.

Protocol: https://inference-docs.cerebras.ai/api-reference/chat-completions (OpenAI's Chat Completions);
https://inference-docs.cerebras.ai/payload-optimization (requests as msgpack, with gzip).
"""

from __future__ import annotations

import asyncio
import gzip
import http
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Unpack

import msgspec

from getpatter.errors import PatterConnectionError, PatterError
from getpatter.llm._chat import ChatModel, ChatOptions
from getpatter.llm._model import FIRST_TOKEN_S, Who
from getpatter.llm._talk import Message
from getpatter.llm.base import LLMChunk
from getpatter.net.messages import HttpRequest
from getpatter.types import DefaultStr

_BASE_URL: Final = "https://api.cerebras.ai/v1"
_WORTH_COMPRESSING: Final = 1024
_CATALOGUE_S: Final = 3.0


class _Entry(msgspec.Struct):
    id: str


class _Catalogue(msgspec.Struct):
    data: list[_Entry]


class LLM(ChatModel):
    """Models on Cerebras' hardware. Known as `CerebrasLLM` too."""

    provider_key = "cerebras"
    agent_settings = MappingProxyType({"model": "model"})
    key_variable = "CEREBRAS_API_KEY"

    def __init__(
        self,
        api_key: str | None = None,
        *,
        model: str = DefaultStr("gpt-oss-120b"),
        base_url: str = _BASE_URL,
        gzip_compression: bool = True,
        msgpack_encoding: bool = True,
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[ChatOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variable `CEREBRAS_API_KEY`.
            model: Any model of the vendor.
            base_url: Another address that speaks the same protocol.
            gzip_compression: Compress long requests, until the server says that it does not take them.
            msgpack_encoding: Send requests as msgpack, likewise.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `response_format`, `tool_choice`,
                `parallel_tool_calls`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`,
                `service_tier`, `user`; sent as they are.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        super().__init__(
            api_key,
            model=model,
            base_url=base_url,
            timeout=timeout,
            sampling={**sampling},
            options={"gzip_compression": gzip_compression, "msgpack_encoding": msgpack_encoding},
        )
        self._packs = msgpack_encoding
        self._compresses = gzip_compression

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None = None,
        *,
        cancel_event: asyncio.Event | None = None,
        call_id: str | None = None,
    ) -> AsyncGenerator[LLMChunk, None]:
        """As every model's; a request that was refused for its packing is sent again without it."""
        has_begun = False
        try:
            answer = super().stream(messages, tools, cancel_event=cancel_event, call_id=call_id)
            async with aclosing(answer) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    yield chunk
        except PatterConnectionError as error:
            if error.status == http.HTTPStatus.NOT_FOUND and not has_begun:
                raise await self._with_models(error) from error
            if has_begun or not self._was_packing(error):
                raise
            self._packs = self._compresses = False
        else:
            return
        plain = super().stream(messages, tools, cancel_event=cancel_event, call_id=call_id)
        async with aclosing(plain) as chunks:
            async for chunk in chunks:
                yield chunk

    def _request(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> HttpRequest:
        # Repeated once on 429 and 5xx, after the time that the answer asks for: nothing was generated yet.
        request = super()._request(messages, tools, who)
        request = replace(request, is_repeatable=True, attempts=2)
        headers, body = dict(request.headers), request.body
        if self._packs:
            headers["content-type"] = "application/vnd.msgpack"
            body = msgspec.msgpack.encode(msgspec.json.decode(body))
        if self._compresses and len(body) >= _WORTH_COMPRESSING:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=5, mtime=0)
        return replace(request, headers=headers, body=body)

    def _was_packing(self, error: PatterConnectionError) -> bool:
        refusals = {http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
        return (self._packs or self._compresses) and error.status in refusals

    async def _with_models(self, error: PatterConnectionError) -> PatterConnectionError:
        """The error, with the names of the models that there are."""
        request = HttpRequest("GET", f"{self._base_url}/models", self._headers(Who()))
        try:
            answer = await self._connections.http.send(request, total_timeout=_CATALOGUE_S)
            names = [entry.id for entry in msgspec.json.decode(answer.body, type=_Catalogue).data]
        except (PatterError, msgspec.MsgspecError):
            return error
        return PatterConnectionError(
            f"{error}; there are {', '.join(sorted(names))}",
            vendor=self.provider_key,
            retryable=False,
            request_id=error.request_id,
            status=error.status,
        )
