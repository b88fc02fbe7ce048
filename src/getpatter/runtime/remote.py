"""Replies of a program somewhere on the web: `on_message` as a URL.

`http(s)`: one `POST` for each turn, answered with `{"text": ...}` or plain text. `ws(s)`: one connection for each
call; `{"text": chunk}` ... `{"done": true}` are spoken as they come, and an interruption is told as
`{"type": "cancel"}`. What goes wrong is raised, and the agent apologises, as for a function that failed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from getpatter.errors import ErrorCode, PatterConnectionError, WireError
from getpatter.net.addresses import (
    PORTS,
    WEBSOCKET,
    Resolve,
    checked_addresses,
    judge_url,
    resolve,
)
from getpatter.net.messages import HttpRequest
from getpatter.net.public import PublicHttp
from getpatter.net.sockets import Message, SocketRequest, WebSocket
from getpatter.runtime import clock

logger = logging.getLogger(__name__)

MAX_ANSWER: Final = 64 * 1024
ANSWER_WITHIN: Final = 30.0
WHAT: Final = "on_message"
_SUCCESS: Final = range(200, 300)

Payload = Callable[[str], dict[str, object]]
"""What is asked about the caller's words."""


class RemoteReplies(Protocol):
    """Writes the replies of one call, somewhere else."""

    def reply(self, text: str, turn_index: int) -> AsyncIterator[str]:
        """The answer to `text`, piece by piece."""
        ...

    async def close(self) -> None:
        """The call is over."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteMessages:
    """Where replies come from, for all calls of a server."""

    url: str = field(repr=False)
    http: PublicHttp
    secret: str = field(default="", repr=False)
    allow_private: bool = False
    ask: Resolve = resolve

    def for_call(self, payload: Payload) -> RemoteReplies:
        """The replies of one call; nothing is connected yet."""
        if urlsplit(self.url).scheme in WEBSOCKET:
            return _SocketReplies(self, payload)
        return _HttpReplies(self, payload)

    def signature(self, body: bytes) -> dict[str, str]:
        """Headers that prove to the other side who asks; none without a secret."""
        if not self.secret:
            return {}
        signed = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        return {"X-Patter-Signature": signed, "X-Patter-Timestamp": str(int(clock.wall()))}


class _HttpReplies:
    """One request a turn."""

    def __init__(self, where: RemoteMessages, payload: Payload) -> None:
        self._where = where
        self._payload = payload

    async def reply(self, text: str, turn_index: int) -> AsyncGenerator[str, None]:
        del turn_index
        body = msgspec.json.encode(self._payload(text))
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/plain",
            **self._where.signature(body),
        }
        response = await self._where.http.send(
            HttpRequest("POST", self._where.url, headers, body),
            max_body=MAX_ANSWER,
            timeout=ANSWER_WITHIN,
        )
        if response.status not in _SUCCESS:
            raise PatterConnectionError(
                f"{WHAT} answered {response.status}", status=response.status
            )
        said = _text_of(response.body, response.headers.get("content-type", ""))
        if said:
            yield said
        else:
            logger.info("on_message.silent")

    async def close(self) -> None:
        """Connections are shared by all calls."""


def _text_of(body: bytes, content_type: str) -> str:
    """`{"text": ...}`, or the body itself where it is no JSON object."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{WHAT} answered something that is not UTF-8") from error
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "json" in content_type:
            raise WireError(f"{WHAT} answered something that is not JSON") from error
        return text
    if not isinstance(answer, dict):
        return answer if isinstance(answer, str) else text
    said = answer.get("text")
    if said is None or isinstance(said, str):
        return said or ""
    raise WireError(f"{WHAT} answered with a text that is a {type(said).__name__}")


class _SocketReplies:
    """One connection a call; opened at the first turn, and again after a loss."""

    def __init__(self, where: RemoteMessages, payload: Payload) -> None:
        self._where = where
        self._payload = payload
        self._socket: WebSocket | None = None
        self._turns = 0

    async def reply(self, text: str, turn_index: int) -> AsyncGenerator[str, None]:
        del turn_index
        self._turns += 1
        turn = self._turns
        socket = await self._connected()
        is_done = False
        try:
            socket.send(msgspec.json.encode({**self._payload(text), "turn": turn}).decode())
            length = 0
            while not is_done:
                said, is_done = _chunk(await self._next(socket), turn)
                length += len(said)
                if length > MAX_ANSWER:
                    raise WireError(f"{WHAT} answered with more than {MAX_ANSWER} characters")
                if said:
                    yield said
        finally:
            if not is_done and socket.is_open:
                socket.send('{"type":"cancel"}')

    async def _next(self, socket: WebSocket) -> Message:
        try:
            return await anext(aiter(socket))
        except StopAsyncIteration as error:
            raise PatterConnectionError(f"{WHAT} hung up in the middle of an answer") from error

    async def _connected(self) -> WebSocket:
        if self._socket is not None and self._socket.is_open:
            return self._socket
        where = self._where
        parts = judge_url(where.url, schemes=WEBSOCKET, allow_private=where.allow_private)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        try:
            addresses = await checked_addresses(
                host, port, ask=where.ask, allow_private=where.allow_private
            )
        except OSError as error:
            raise PatterConnectionError(
                f"{WHAT}: no such host", code=ErrorCode.CONNECTION
            ) from error
        stamp = str(int(clock.wall()))
        headers: Mapping[str, str] = where.signature(stamp.encode()) | (
            {"X-Patter-Timestamp": stamp} if where.secret else {}
        )
        self._socket = await WebSocket.connect(
            SocketRequest(
                url=where.url,
                headers=headers,
                vendor=WHAT,
                max_frame=MAX_ANSWER,
                address=addresses[0],
            )
        )
        return self._socket

    async def close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()


def _chunk(message: Message, turn: int) -> tuple[str, bool]:
    """The words in a message, and whether it is the last of the answer to `turn`."""
    try:
        said: Any = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{WHAT} sent something that is not JSON") from error
    if not isinstance(said, dict):
        raise WireError(f"{WHAT} sent something that is no JSON object")
    if said.get("turn", turn) != turn:
        return "", False  # what was left of an answer that was interrupted
    text = said.get("text")
    return text if isinstance(text, str) else "", said.get("done") is True
