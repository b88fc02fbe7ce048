"""Tools that servers lend over the Model Context Protocol, for one call.

Each server has one task, which connects, waits for the end of the call and closes: the official client must be left by
the task that entered it. A server that does not connect in time is done without; one that fails later makes its tools
answer with an error, and the call goes on.

Protocol: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from getpatter.core.exchanges import shortened
from getpatter.errors import PatterConnectionError, ToolSchemaError
from getpatter.runtime import clock
from getpatter.tools import Effect, Tool

if TYPE_CHECKING:
    from anyio import CancelScope
    from mcp import ClientSession

    from getpatter.agent_parts import MCPServerConfig
    from getpatter.types import Instant

logger = logging.getLogger(__name__)

CONNECT_WITHIN: Final = 5.0
CLOSE_WITHIN: Final = 6.0
MOST_TOOLS: Final = 200
RESULT_BYTES: Final = 64 * 1024
_PAGES: Final = 20
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_LETTERS: Final = 64
_MARGIN: Final = 1.0


class LentTool(Tool):
    """A tool of a server."""

    __slots__ = ()
    transport: ClassVar[str] = "mcp"
    """How it is reached, for events and traces."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A tool as its server lists it."""

    name: str
    shown: str
    """The same, in letters that models take."""
    description: str
    parameters: Mapping[str, object]
    effect: Effect


@dataclass(slots=True, eq=False)
class _Connection:
    """One server, from the first attempt to its close."""

    server: MCPServerConfig
    began_at: Instant
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Connected, or given up."""
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    session: ClientSession | None = None
    label: str = ""
    offers: tuple[_Offer, ...] = ()
    task: asyncio.Task[None] | None = None
    scope: CancelScope | None = None
    """Ends the attempt in order, the program that was started included."""


class ToolServers:
    """The servers of one call."""

    def __init__(self, spawn: Callable[..., asyncio.Task[None]]) -> None:
        """Begin with none. `spawn` starts a task that ends with the call."""
        self._spawn = spawn
        self._known: dict[MCPServerConfig, _Connection] = {}

    def connect(self, servers: Sequence[MCPServerConfig]) -> None:
        """Begin to connect those that are not known yet."""
        for server in servers:
            if server not in self._known:
                connection = self._known[server] = _Connection(server, clock.now())
                connection.task = self._spawn(self._hold(connection), name="mcp")

    async def connected(self, servers: Sequence[MCPServerConfig]) -> None:
        """Wait, 5 s at most, until these have connected or failed. Never raises for what they did."""
        self.connect(servers)
        for connection in (self._known[each] for each in servers):
            left = connection.began_at + CONNECT_WITHIN - clock.now()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left)):
                    await connection.settled.wait()

    def tools(self, servers: Sequence[MCPServerConfig], taken: Sequence[str]) -> Sequence[Tool]:
        """What those of them that are connected lend, under names that are not `taken`."""
        lent = [
            (each, offer)
            for server in servers
            if (each := self._known.get(server)) is not None and each.session is not None
            for offer in each.offers
        ]
        count = Counter(offer.shown for _, offer in lent)
        used = set(taken)
        tools: list[Tool] = []
        for connection, offer in lent[:MOST_TOOLS]:
            name = offer.shown
            if count[name] > 1 or name in used:
                name = _free(f"{connection.label}_{name}", used)
            used.add(name)
            tools.append(_tool(connection, offer, name))
        return tools

    async def close(self) -> None:
        """Leave all servers; programs that were started are ended, after a grace of 2 s. Idempotent."""
        tasks = {each.task for each in self._known.values() if each.task is not None}
        for connection in self._known.values():
            connection.leave.set()
            if connection.session is None and connection.scope is not None:
                connection.scope.cancel()
        tasks = {task for task in tasks if not task.done()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_WITHIN)
            for task in late:
                task.cancel()

    async def _hold(self, connection: _Connection) -> None:
        try:
            import anyio  # noqa: PLC0415 - comes with the extra

            # Its own scope, because a task that is cancelled from outside can keep the program alive.
            with anyio.fail_after(CONNECT_WITHIN) as connection.scope:
                await self._talk(connection, connection.scope)
        except Exception as error:  # noqa: BLE001 - a call goes on without a server, whatever is wrong with it
            logger.warning("mcp.lost error=%s", _reason(error))
        finally:
            connection.session = None
            connection.settled.set()

    async def _talk(self, connection: _Connection, limit: CancelScope) -> None:
        server = connection.server
        async with _session(server) as session:
            hello = await session.initialize()
            label = server.name or hello.server_info.name
            connection.label = _NOT_IN_NAMES.sub("_", label).strip("_") or "server"
            connection.offers = await _offers(session)
            limit.deadline = math.inf
            connection.session = session
            connection.settled.set()
            logger.info("mcp.connected tools=%d", len(connection.offers))
            await connection.leave.wait()
            connection.session = None


@asynccontextmanager
async def _session(server: MCPServerConfig) -> AsyncGenerator[ClientSession, None]:
    from mcp import ClientSession  # noqa: PLC0415 - an extra, and slow to load

    async with _streams(server) as (read, write), ClientSession(read, write) as session:
        yield session


@asynccontextmanager
async def _streams(server: MCPServerConfig) -> AsyncGenerator[tuple[Any, Any], None]:
    if server.command:
        from mcp import StdioServerParameters, stdio_client  # noqa: PLC0415 - as above

        how = StdioServerParameters(
            command=server.command,
            args=list(server.args),
            env=None if server.env is None else dict(server.env),
            cwd=server.cwd,
        )
        async with stdio_client(how) as (read, write):
            yield read, write
        return
    import httpx2  # noqa: PLC0415 - as above
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - as above

    limits = httpx2.Timeout(CONNECT_WITHIN, read=server.timeout_s + _MARGIN)
    async with (
        httpx2.AsyncClient(headers=dict(server.headers or {}), timeout=limits) as http,
        streamable_http_client(server.url, http_client=http) as streams,
    ):
        yield streams[0], streams[1]


async def _offers(session: ClientSession) -> tuple[_Offer, ...]:
    from mcp import types  # noqa: PLC0415 - as above

    offers: list[_Offer] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        offers += [_offer(each) for each in page.tools]
        cursor = page.next_cursor
        if not cursor or len(offers) >= MOST_TOOLS:
            break
    return tuple(each for each in offers if _is_usable(each))


def _offer(tool: Any) -> _Offer:
    hints = tool.annotations
    effect: Effect = "write"
    if hints is not None and hints.read_only_hint:
        effect = "read"
    elif hints is not None and hints.destructive_hint and not hints.idempotent_hint:
        effect = "irreversible"
    shown = _NOT_IN_NAMES.sub("_", tool.name)[:_NAME_LETTERS]
    return _Offer(tool.name, shown, tool.description or "", tool.input_schema, effect)


def _is_usable(offer: _Offer) -> bool:
    try:
        Tool(offer.shown, parameters=offer.parameters, handler=print)
    except (ToolSchemaError, ValueError) as error:
        logger.warning("mcp.tool_skipped error=%s", type(error).__name__)
        return False
    return True


def _free(wanted: str, used: set[str]) -> str:
    name = wanted[:_NAME_LETTERS]
    number = 1
    while name in used:
        number += 1
        name = f"{wanted[: _NAME_LETTERS - 4]}_{number}"
    return name


def _tool(connection: _Connection, offer: _Offer, name: str) -> Tool:
    limit = connection.server.timeout_s

    async def ask(args: Mapping[str, object], ctx: object) -> object:
        del ctx
        session = connection.session
        if session is None:
            return {"error": "The tool is not there any more."}
        from mcp import MCPError  # noqa: PLC0415 - an extra

        try:
            result = await session.call_tool(offer.name, dict(args), read_timeout_seconds=limit)
        except MCPError as error:
            # What a server says may hold anything; nobody knows whether it has done it.
            raise PatterConnectionError(f"the tool server failed: {error.code}") from None
        return _result(result)

    return LentTool(
        name,
        offer.description,
        offer.parameters,
        ask,
        timeout_s=min(300.0, limit + _MARGIN),
        effect=offer.effect,
    )


def _result(result: Any) -> object:
    texts = [
        str(part.text) if part.type == "text" else f"[{part.type}]"
        for part in getattr(result, "content", ())
    ]
    said = "\n".join(texts)
    structured = getattr(result, "structured_content", None)
    if structured is not None and not said:
        said = json.dumps(structured, ensure_ascii=False)
    said = shortened(said, RESULT_BYTES)
    if getattr(result, "is_error", False):
        return {"error": said or "The tool failed."}
    return said


def _reason(error: BaseException) -> str:
    """The class of what went wrong: what servers say may hold anything."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return type(error).__name__
