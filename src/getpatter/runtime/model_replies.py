"""Replies of a language model with tools: carries out what `core/model_loop.py` decides."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from getpatter.core import model_loop as ml
from getpatter.core.exchanges import Exchanges, Wish
from getpatter.core.history import Line
from getpatter.errors import AuthenticationError, ErrorCode, PatterConnectionError
from getpatter.llm.base import LLMChunk, LLMProvider, as_chunk
from getpatter.runtime import clock
from getpatter.runtime.drafts import Draft, Wanted
from getpatter.runtime.hooks import ModelHooks
from getpatter.runtime.identity import name_of_provider
from getpatter.runtime.losses import shown
from getpatter.runtime.memory import Memory
from getpatter.runtime.tools import ToolExecutor
from getpatter.runtime.wording import settle
from getpatter.runtime.writer import Cue
from getpatter.types import Instant

if TYPE_CHECKING:
    from getpatter.agent import Agent

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

PHONE_PREAMBLE: Final = (
    "You are speaking with somebody on the telephone. Answer in one or two short spoken sentences, without "
    "lists, markdown or emoji. Ask one question at a time."
)
UNTOLD: Final = (
    "A tool that you had started has finished in the meantime; its result stands above. If the caller does not "
    "know it yet and still wants to, tell them in one sentence."
)
CLOSE_WITHIN: Final = 2.0
TOOL_PREAMBLE: Final = "Before you use a tool, say in a few words what you are about to do."


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one request to a model cost, in tokens."""

    provider: str
    """The price table's key."""
    model: str
    input_tokens: int
    """Cached ones not included."""
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


async def _at_once() -> None:
    """There is nothing to wait for."""


@dataclass(slots=True)
class ModelContext:
    """What a model's replies need to know of their call, and whom they tell."""

    lines: Callable[[], Sequence[Line]]
    """The conversation so far, the newest turn last."""
    hooks: ModelHooks
    exchanges: Exchanges
    call_id: str = ""
    used: Callable[[ModelUsage], None] = lambda _: None
    emit: Callable[[str, dict[str, object]], None] = lambda _event, _payload: None
    spawn: Callable[..., asyncio.Task[None]] | None = None
    """Starts work beside the replies; without it there are no drafts and no summaries."""
    drafted: Callable[[bool], None] = lambda _: None
    """Told of each draft whether it was used."""
    sent: Callable[[int], None] = lambda _: None
    """Told how many tokens each request is taken to have."""
    is_ending: Callable[[], bool] = lambda: False
    """Whether a tool has begun to end the call."""
    equipped: Callable[[], Awaitable[None]] = _at_once
    """Waits, a few seconds at most, until all tools are there."""
    refused: Callable[[Exception], None] = lambda _: None
    """Told when the model refuses the key: nobody will ever answer in this call."""


def prompt_of(agent: Agent) -> str:
    """The system prompt as it is sent: preambles first, then the agent's own."""
    parts = [] if agent.disable_phone_preamble else [PHONE_PREAMBLE]
    if agent.tool_call_preambles and agent.tools:
        parts.append(TOOL_PREAMBLE)
    return "\n\n".join([*parts, agent.system_prompt])


class ModelReplies:
    """A `ReplySource`: one language model, the tools it may use, and what it remembers of them."""

    def __init__(
        self, llm: LLMProvider, agent: Agent, tools: ToolExecutor, context: ModelContext
    ) -> None:
        """Answer with `llm` as `agent`."""
        self._llm = llm
        self._prompt = prompt_of(agent)
        self._memory = Memory(agent, context.exchanges)
        self._draft: Draft | None = None
        self._drafts = 0
        self._tools = tools
        self._context = context
        self._replies = 0
        self._request = _Request(clock.now(), 0)

    def become(self, agent: Agent, llm: LLMProvider) -> None:
        """Another agent has the call: its prompt and its model are used from the next request on."""
        self.drop_draft()
        self._prompt, self._llm = prompt_of(agent), llm

    async def reply(self, text: str, turn_index: int) -> AsyncIterator[str | Cue]:
        """The model's words as they come, and `Cue.SAY_NOW` where it turns to a tool.

        Without text the caller has said nothing: a tool has finished whose reply was interrupted.
        """
        del turn_index
        if not text and not self._tools.has_untold:
            return
        self._replies += 1
        await self._context.equipped()
        loop = ml.ModelLoop(has_tools=bool(self._tools.schemas))
        reply = _Reply(self._replies, loop, is_unasked=not text)
        hooks = self._context.hooks
        held: list[str] = []
        async with aclosing(self._pieces(reply)) as pieces:
            async for piece in pieces:
                if not hooks.holds_speech:
                    yield piece
                elif isinstance(piece, str):
                    held.append(piece)
        if held:
            yield await hooks.response("".join(held))
        if reply.failure is not None and not reply.is_refused:
            raise PatterConnectionError(
                f"no reply could be written: {reply.failure}", code=ErrorCode.PROVIDER_ERROR
            )

    async def _pieces(self, reply: _Reply) -> AsyncGenerator[str | Cue, None]:
        """Run the loop to its end, one command after the other."""
        commands = reply.loop.begin(clock.now())
        while commands:
            command = commands.pop(0)
            match command:
                case ml.Ask():
                    async with aclosing(self._asked(reply, command)) as answer:
                        async for piece in answer:
                            yield piece
                    commands = reply.following
                case ml.RunTools():
                    commands = await self._run_tools(reply, command)
                case ml.GiveUp(reason=reason):
                    reply.failure = reason
                case ml.Say() | ml.SayNow():
                    yield _said(command)
                case ml.Finish():
                    pass

    # -------------------------------------------------------------------------------------- the model

    async def _asked(self, reply: _Reply, ask: ml.Ask) -> AsyncGenerator[str | Cue, None]:
        """Read one answer, giving what is to be said at once; what is to be done after it is `reply.following`."""
        loop = reply.loop
        reply.requests += 1
        request = self._request = _Request(clock.now(), reply.requests)
        try:
            async with self._answer(reply, ask) as chunks:
                while True:
                    event = await self._next(chunks, loop)
                    commands = loop.handle(event, clock.now())
                    while commands and isinstance(commands[0], ml.Say | ml.SayNow):
                        yield _said(commands.pop(0))
                    if commands:
                        reply.following = commands
                        request.is_whole = True
                        return
        except _AnswerBrokeError as broken:
            request.error = broken.reason
            logger.warning(
                "llm.request_failed provider=%s error=%s",
                name_of_provider(self._llm),
                broken.reason,
                exc_info=without_text(broken.__cause__),
            )
            refusal = broken.__cause__
            if isinstance(refusal, AuthenticationError):
                reply.is_refused = True
                logger.error(  # noqa: TRY400 - what the vendor said is all there is to know
                    "llm.gone error=%s", shown(refusal)
                )
                self._context.refused(refusal)
            reply.following = loop.handle(
                ml.Broke(broken.reason, is_final=reply.is_refused), clock.now()
            )
        finally:
            self._told_of(request)

    async def _next(self, chunks: AsyncIterator[object], loop: ml.ModelLoop) -> ml.Input:
        assert loop.deadline is not None, "a request has a limit"
        while True:
            try:
                async with asyncio.timeout(max(0.0, loop.deadline - clock.now())):
                    raw = await anext(chunks)
            except StopAsyncIteration:
                return ml.Ended()
            except TimeoutError as error:
                raise _AnswerBrokeError("TimeoutError") from error
            except _AnswerBrokeError:
                raise  # of a draft, which had its own connection
            except Exception as error:
                raise _AnswerBrokeError(type(error).__name__) from error
            chunk = as_chunk(raw)
            event = self._read(chunk) if chunk is not None else None
            if event is not None:
                return event

    def _told_of(self, request: _Request) -> None:
        """One request is over, however it ended."""
        used, wall = request.usage, clock.wall() - clock.now()
        now, first = clock.now(), request.first_at
        llm = self._llm
        self._context.emit(
            "llm_metrics",
            {
                "stage": "llm",
                "provider": used.provider if used else name_of_provider(llm),
                "model": used.model if used else str(getattr(llm, "model", "") or ""),
                "started_at": request.began_at + wall,
                "ended_at": now + wall,
                "duration_ms": (now - request.began_at) * 1000,
                "ttft_ms": None if first is None else (first - request.began_at) * 1000,
                "iteration": request.iteration,
                "history_size": request.history_size,
                "input_tokens": used.input_tokens if used else 0,
                "output_tokens": used.output_tokens if used else 0,
                "cache_read_tokens": used.cache_read_tokens if used else 0,
                "cache_write_tokens": used.cache_write_tokens if used else 0,
                "interrupted": not request.is_whole and not request.error,
                "error": request.error,
            },
        )

    def _read(self, chunk: LLMChunk) -> ml.Input | None:
        request = self._request
        if request.first_at is None and chunk.type in {"text", "tool_call"}:
            request.first_at = clock.now()
        match chunk.type:
            case "text":
                if not chunk.content:
                    return None
                self._context.emit("llm_chunk", {"text": chunk.content})
                return ml.Wrote(self._context.hooks.chunk(chunk.content))
            case "tool_call":
                return ml.CallPart(chunk.index, chunk.id, chunk.name, chunk.arguments)
            case "usage":
                request.usage = self._count(chunk)
                return None
            case "done":
                return None  # usage may follow; the end is when the stream ends

    def _count(self, chunk: LLMChunk) -> ModelUsage:
        usage = ModelUsage(
            provider=name_of_provider(self._llm),
            model=str(getattr(self._llm, "model", "") or ""),
            input_tokens=chunk.input_tokens,
            output_tokens=chunk.output_tokens,
            cache_read_tokens=chunk.cache_read_tokens,
            cache_write_tokens=chunk.cache_write_tokens,
        )
        self._context.used(usage)
        return usage

    @asynccontextmanager
    async def _answer(self, reply: _Reply, ask: ml.Ask) -> AsyncGenerator[AsyncIterator[object]]:
        """The chunks of one answer. However it ends, the provider is told that nobody reads on."""
        wanted = self._wanted(reply, with_tools=ask.with_tools)
        draft = self._taken_draft(wanted)
        if draft is not None:
            async with draft.chunks() as chunks:
                yield chunks
            return
        messages = await self._context.hooks.messages(wanted.copied())
        async with self._opened(messages, wanted.tools) as chunks:
            yield chunks

    @asynccontextmanager
    async def _opened(
        self,
        messages: Sequence[Mapping[str, object]],
        tools: Sequence[Mapping[str, object]] | None,
    ) -> AsyncGenerator[AsyncIterator[object]]:
        cancelled = asyncio.Event()
        extra = _accepted(
            self._llm.stream, {"call_id": self._context.call_id, "cancel_event": cancelled}
        )
        stream: Any = None
        try:
            try:
                stream = self._llm.stream(messages, tools, **extra)
                if inspect.isawaitable(stream):
                    stream = await stream
                chunks = aiter(stream)
            except Exception as error:
                raise _AnswerBrokeError(type(error).__name__) from error
            yield chunks
        finally:
            cancelled.set()
            close = getattr(stream, "aclose", None)
            if close is not None:
                await self._hang_up(close)

    async def _hang_up(self, close: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await settle(close())
        except Exception as error:  # noqa: BLE001 - what nobody waits for any more must not fail a reply
            logger.info("llm.close_failed error=%s", type(error).__name__)

    def _wanted(self, reply: _Reply, *, with_tools: bool) -> Wanted:
        lines = self._context.lines()
        messages = self._messages(lines, reply.number)
        if reply.is_unasked:
            messages.append({"role": "system", "content": UNTOLD})
        fitted = self._memory.fitted(messages)
        self._request.history_size = len(fitted)
        self._context.sent(self._memory.tokens)
        shown = [str(each["tool_call_id"]) for each in fitted if each["role"] == "tool"]
        self._tools.told(shown)
        spawn = self._context.spawn
        if spawn is not None and self._memory.wants_summary(lines):
            spawn(self._memory.summarise(list(lines), self._whole), name="summary")
        return Wanted(fitted, self._tools.schemas if with_tools else None)

    def _messages(self, lines: Sequence[Line], reply: int) -> list[dict[str, object]]:
        told = self._memory.told(lines, reply)
        return [{"role": "system", "content": self._prompt}, *told]

    async def _whole(self, messages: Sequence[Mapping[str, object]]) -> str:
        """All that the model writes to `messages`, which the caller does not hear."""
        written: list[str] = []
        async with self._opened(messages, None) as chunks:
            async for raw in chunks:
                chunk = as_chunk(raw)
                if chunk is not None and chunk.type == "text":
                    written.append(chunk.content)
                elif chunk is not None and chunk.type == "usage":
                    self._count(chunk)
        return "".join(written)

    # ------------------------------------------------------------------------------------- the draft

    async def draft(self, text: str) -> None:
        """Ask the model before it is certain that the caller has finished with `text`."""
        self.drop_draft()
        spawn, number = self._context.spawn, self._drafts
        if spawn is None:
            return
        await self._context.equipped()
        lines = [*self._context.lines(), Line("user", text, 0.0, 0)]
        messages = self._memory.fitted(self._messages(lines, self._replies + 1))
        wanted = Wanted(messages, self._tools.schemas or None)
        sent = await self._context.hooks.messages(wanted.copied())
        if number != self._drafts:
            return  # what it was for has come, or will not come
        self._draft = Draft(wanted, lambda: self._opened(sent, wanted.tools), spawn)

    def drop_draft(self) -> None:
        """The draft will not be asked for."""
        draft, self._draft = self._draft, None
        self._drafts += 1
        if draft is not None:
            self._context.drafted(False)  # noqa: FBT003 - whether it was used
            for chunk in draft.drop():
                self._count(chunk)

    def _taken_draft(self, wanted: Wanted) -> Draft | None:
        """The draft, if it answers this very request; else it is dropped."""
        draft = self._draft
        if draft is None or not draft.fits(wanted):
            self.drop_draft()
            return None
        self._draft = None
        self._drafts += 1
        self._context.drafted(True)  # noqa: FBT003 - whether it was used
        return draft

    # -------------------------------------------------------------------------------------- the tools

    async def _run_tools(self, reply: _Reply, command: ml.RunTools) -> list[ml.Command]:
        exchanges = self._context.exchanges
        wishes = [
            Wish(exchanges.unused_id(wish.id), wish.name, wish.arguments) for wish in command.wishes
        ]
        exchanges.begin(reply.number, len(self._context.lines()), command.text, wishes)
        reply.is_unasked = False  # the note has been read
        # Nothing waits between the entry of the calls and their start: no call is entered that never ran.
        runs = [self._tools.start(wish.name, wish.arguments, wish.id) for wish in wishes]
        await self._tools.wait(runs)
        commands: list[ml.Command] = []
        for wish in command.wishes:
            returned = ml.Returned(wish.id, ends_call=self._context.is_ending())
            commands = reply.loop.handle(returned, clock.now())
        return commands


@dataclass(slots=True)
class _Request:
    """What is told of one request to a model."""

    began_at: Instant
    iteration: int
    history_size: int = 0
    first_at: Instant | None = None
    usage: ModelUsage | None = None
    is_whole: bool = False
    error: str = ""


@dataclass(slots=True)
class _Reply:
    number: int
    loop: ml.ModelLoop
    requests: int = 0
    is_unasked: bool = False
    following: list[ml.Command] = field(default_factory=list)
    failure: str | None = None
    is_refused: bool = False
    """The call is about to end for it, and says so itself."""


def _said(command: ml.Command) -> str | Cue:
    return command.text if isinstance(command, ml.Say) else Cue.SAY_NOW


class _AnswerBrokeError(Exception):
    """The model's answer did not come to its end."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _accepted(function: Callable[..., object], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `keywords` that the function takes; a provider without them works too (CV-40)."""
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {name: value for name, value in keywords.items() if takes_any or name in parameters}
