"""The tool with which a model asks another agent: one `POST`, an answer in text.

The other agent is told what the model asks, which call it is, and a hash of the caller: never the number, and
nothing of what was said.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from getpatter.errors import PatterConnectionError
from getpatter.llm._sessions import hash_caller
from getpatter.net.messages import HttpRequest, HttpResponse
from getpatter.net.public import PublicHttp
from getpatter.runtime.tools import failure
from getpatter.tools import Tool

if TYPE_CHECKING:
    from getpatter.agent_parts import ConsultConfig

logger = logging.getLogger(__name__)

MAX_ANSWER: Final = 1024 * 1024
_SUCCESS: Final = range(200, 300)
_ANSWERS: Final = ("answer", "text", "response", "output")
"""Where an answer in JSON has its text."""
_MARGIN: Final = 1.0
_REQUEST: Final[Mapping[str, object]] = {
    "type": "object",
    "properties": {
        "request": {
            "type": "string",
            "maxLength": 4000,
            "description": "The question, complete in itself: who is asked has not heard the conversation.",
        }
    },
    "required": ["request"],
    "additionalProperties": False,
}


class Consulting:
    """Asks other agents, for all calls of a server."""

    def __init__(self, public: PublicHttp, anywhere: PublicHttp) -> None:
        """Ask through `public`; through `anywhere` where `allow_loopback` says so."""
        self._public = public
        self._anywhere = anywhere

    def tool(self, config: ConsultConfig) -> Tool:
        """The tool for one target."""

        async def consult(args: Mapping[str, str], ctx: Mapping[str, object]) -> object:
            return await self._ask(config, args["request"], ctx)

        return Tool(
            config.tool_name,
            config.description,
            _REQUEST,
            consult,
            reassurance=config.reassurance,
            timeout_s=min(300.0, config.timeout_s + _MARGIN),
            effect="read",
        )

    async def _ask(self, config: ConsultConfig, request: str, ctx: Mapping[str, object]) -> object:
        http = self._anywhere if config.allow_loopback else self._public
        try:
            response = await http.send(
                _request(config, request, ctx), max_body=MAX_ANSWER, timeout=config.timeout_s
            )
        except PatterConnectionError as error:
            logger.warning("consult.failed tool=%s error=%s", config.tool_name, error)
            return _refused("Nobody could be asked.")
        if response.status not in _SUCCESS:
            logger.warning("consult.refused tool=%s status=%d", config.tool_name, response.status)
            return _refused("The answer was a failure.")
        return _answer(config, response)


def _refused(message: str) -> object:
    return json.loads(failure(message).text)


def _request(config: ConsultConfig, request: str, ctx: Mapping[str, object]) -> HttpRequest:
    caller = str(ctx.get("caller", ""))
    who = hash_caller(caller) if caller else ""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/plain"}
    service = config.openai_compatible
    if service is None:
        body: dict[str, object] = {
            "request": request,
            "call_id": ctx.get("call_id", ""),
            "caller_hash": who,
        }
    else:
        body = {"model": service["model"], "messages": [{"role": "user", "content": request}]}
        if who:
            body["user"] = who
        if service.get("api_key"):
            headers["Authorization"] = f"Bearer {service['api_key']}"
    return HttpRequest(
        "POST", config.target, {**headers, **(config.headers or {})}, msgspec.json.encode(body)
    )


def _answer(config: ConsultConfig, response: HttpResponse) -> object:
    text = response.body.decode(errors="replace").strip()
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if config.openai_compatible is not None:
        found = _completion(found)
        if found is None:
            logger.warning("consult.unreadable tool=%s", config.tool_name)
            return _refused("The answer could not be read.")
        return found
    if isinstance(found, Mapping):
        return next((found[key] for key in _ANSWERS if isinstance(found.get(key), str)), found)
    return text if found is None else found


def _completion(found: Any) -> str | None:
    try:
        content = found["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) and content else None
