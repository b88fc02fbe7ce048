"""Models that remember: how a server of one's own is told which conversation, and which person, a request is about."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from getpatter.llm._chat import ChatModel
from getpatter.llm._model import Who
from getpatter.llm._talk import Message
from getpatter.llm.base import LLMChunk

KeyFactory = Callable[[Mapping[str, str]], str]
"""Makes a session key from `{"call_id", "caller"}`."""
KeySource = Literal["caller", "call_id"]

_NOT_IN_NUMBERS: Final = re.compile(r"[\s().-]")
_NOT_IN_HEADERS: Final = re.compile(r"[^\x21-\x7e]")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HASH_LENGTH: Final = 16
_SHORTEST_NUMBER: Final = 5


def hash_caller(caller: str) -> str:
    """16 hexadecimal digits that are always the same for the same caller, and from which nobody reads the number.

    Phone numbers can be counted through, so this hides one from logs and other people, not from an attacker who
    has the digits and wants to try them all.
    """
    plain = _NOT_IN_NUMBERS.sub("", caller)
    return hashlib.sha256(plain.encode()).hexdigest()[:_HASH_LENGTH]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """What is said about the conversation in each request, and where."""

    user_prefix: str | None = None
    """With it, the body's `user` is this and the id of the call."""
    id_header: str | None = None
    """Header for `id_prefix` and the id of the call."""
    id_prefix: str = ""
    key_header: str | None = None
    """Header for the session key, which outlives a call."""
    key: str | None = field(default=None, repr=False)
    key_factory: KeyFactory | None = None
    key_from: KeySource | None = None

    def __post_init__(self) -> None:
        given = [each for each in (self.key, self.key_factory, self.key_from) if each is not None]
        if len(given) > 1:
            raise ValueError(
                "session_key, session_key_factory and session_key_from exclude each other"
            )
        if given and not self.key_header:
            raise ValueError("a session key needs session_key_header to be sent in")
        if self.key_from not in {None, "caller", "call_id"}:
            raise ValueError(f"session_key_from is 'caller' or 'call_id', not {self.key_from!r}")
        for name in (self.id_header, self.key_header):
            if name is not None and not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"not the name of a header: {name!r}")

    def headers(self, who: Who) -> dict[str, str]:
        """Headers of a request."""
        headers: dict[str, str] = {}
        if self.id_header and who.call_id:
            headers[self.id_header] = _sendable(f"{self.id_prefix}{who.call_id}")
        if self.key_header and (key := self._key(who)):
            headers[self.key_header] = _sendable(_hidden(key, who.caller))
        return headers

    def body(self, who: Who) -> dict[str, object]:
        """Fields of a request's body."""
        if self.user_prefix is None or not who.call_id:
            return {}
        return {"user": f"{self.user_prefix}{who.call_id}"}

    def _key(self, who: Who) -> str:
        if self.key_factory is not None:
            return self.key_factory({"call_id": who.call_id, "caller": who.caller})
        if self.key_from == "caller" and sum(map(str.isdigit, who.caller)) >= _SHORTEST_NUMBER:
            return hash_caller(who.caller)
        # Callers who withhold their number are different people: none may get another's memory.
        return self.key or (who.call_id if self.key_from is not None else "")


def _hidden(key: str, caller: str) -> str:
    """The key without the caller's number, in case a program has put it there."""
    for number in (caller, caller.removeprefix("+")):
        if len(number) >= _SHORTEST_NUMBER:
            key = key.replace(number, hash_caller(caller))
    return key


def _sendable(value: str) -> str:
    return _NOT_IN_HEADERS.sub("_", value)


class SessionModel(ChatModel):
    """A model on a server of one's own: perhaps without a key, perhaps with a memory."""

    _sessions: Sessions = Sessions()
    _extra_headers: Mapping[str, str] = {}

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None = None,
        *,
        cancel_event: asyncio.Event | None = None,
        call_id: str | None = None,
        caller: str | None = None,
    ) -> AsyncGenerator[LLMChunk, None]:
        """As every model's. `caller` is the number of the person on the line, for session keys; it is never sent.

        Raises:
            AuthenticationError: the server refuses the key.
            RateLimitError: it wants fewer requests.
            PatterConnectionError: another refusal, no connection, no word in time, an answer that broke off.
        """
        return self._answer(messages, tools, cancel_event, Who(call_id or "", caller or ""))

    def _headers(self, who: Who) -> dict[str, str]:
        return {**super()._headers(who), **self._extra_headers, **self._sessions.headers(who)}

    def _extra_body(self, who: Who) -> dict[str, object]:
        return self._sessions.body(who)
