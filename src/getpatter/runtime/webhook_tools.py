"""Tools that are somewhere on the web: one `POST` of JSON, an answer in JSON, and patience with neither.

A tool that fails again and again is left alone for a while: its callers hear at once that it does not work,
instead of waiting for it every time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from getpatter.errors import PatterConnectionError
from getpatter.net.addresses import AddressRefusedError
from getpatter.net.messages import HttpRequest, HttpResponse
from getpatter.net.public import NotSentError, PublicHttp
from getpatter.runtime import clock
from getpatter.runtime.tools import WEBHOOK_LIMIT, Answer, State, answer_of, failure
from getpatter.types import Instant

if TYPE_CHECKING:
    from getpatter.tools import Tool

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 3
PAUSE: Final = 0.5
MAX_ANSWER: Final = 1024 * 1024
FAILURES: Final = 5
REST: Final = 30.0
"""Seconds that a tool is left alone after `FAILURES` in a row."""
_SUCCESS: Final = range(200, 300)


@dataclass(slots=True)
class _Fuse:
    """How a tool has been doing."""

    failures: int = 0
    rests_until: Instant | None = None


class WebhookTools:
    """Asks the webhooks of tools, for all calls of a server."""

    def __init__(self, http: PublicHttp) -> None:
        """Ask through `http`."""
        self._http = http
        self._fuses: dict[str, _Fuse] = {}
        """By address, so that agents that share a tool share what is known of it."""

    async def ask(
        self, tool: Tool, arguments: Mapping[str, object], context: Mapping[str, object]
    ) -> Answer:
        """The answer of the tool's webhook."""
        fuse = self._fuses.setdefault(tool.webhook_url, _Fuse())
        now = clock.now()
        if fuse.rests_until is not None and now < fuse.rests_until:
            return failure("The tool does not work at the moment.", State.REFUSED, fallback=True)
        limit = tool.timeout_s if tool.timeout_s is not None else WEBHOOK_LIMIT
        answer = await self._attempts(tool, arguments, context, Instant(now + limit))
        if answer is not None:
            fuse.failures, fuse.rests_until = 0, None
            return answer
        fuse.failures += 1
        if fuse.failures >= FAILURES:
            # One that fails again after its rest goes to rest at once.
            fuse.rests_until = Instant(clock.now() + REST)
            logger.warning("tool.resting tool=%s seconds=%g", tool.name, REST)
        return failure("The tool did not answer.", fallback=True)

    async def _attempts(
        self,
        tool: Tool,
        arguments: Mapping[str, object],
        context: Mapping[str, object],
        until: Instant,
    ) -> Answer | None:
        for attempt in range(1, ATTEMPTS + 1):
            left = until - clock.now()
            if left <= 0:
                break
            was_sent = True
            try:
                response = await self._http.send(
                    _request(tool, arguments, context, attempt), max_body=MAX_ANSWER, timeout=left
                )
            except AddressRefusedError as error:
                logger.warning("tool.address_refused tool=%s reason=%s", tool.name, error)
                return None
            except PatterConnectionError as error:
                was_sent = not isinstance(error, NotSentError)
                logger.warning("tool.webhook_failed tool=%s attempt=%d", tool.name, attempt)
                if not error.retryable:
                    return None
            else:
                if response.status in _SUCCESS:
                    return _answer(tool, response)
                logger.warning(
                    "tool.webhook_refused tool=%s attempt=%d status=%d",
                    tool.name,
                    attempt,
                    response.status,
                )
            if was_sent and tool.effect == "irreversible":
                break  # it may have been done, and nothing of ours can undo it
            if attempt < ATTEMPTS:
                await asyncio.sleep(min(PAUSE, max(0.0, until - clock.now())))
        return None


def _request(
    tool: Tool, arguments: Mapping[str, object], context: Mapping[str, object], attempt: int
) -> HttpRequest:
    body = {
        "tool": tool.name,
        "arguments": arguments,
        "call_id": context.get("call_id", ""),
        "caller": context.get("caller", ""),
        "callee": context.get("callee", ""),
        "attempt": attempt,
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": str(context.get("idempotency_key", "")),
    }
    return HttpRequest("POST", tool.webhook_url, headers, msgspec.json.encode(body))


def _answer(tool: Tool, response: HttpResponse) -> Answer:
    if not response.body.strip():
        return Answer("null")
    try:
        result: object = json.loads(response.body)
    except (ValueError, RecursionError):
        logger.warning("tool.webhook_unreadable tool=%s", tool.name)
        return failure("The tool's answer was not JSON.", State.UNKNOWN, fallback=True)
    return answer_of(result)
