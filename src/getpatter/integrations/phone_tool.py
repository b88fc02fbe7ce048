"""`PatterTool`: a model that runs somewhere else makes a phone call, and reads what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from getpatter.agent import Agent
from getpatter.agent_parts import allows_transfer, check_transfer_entry
from getpatter.errors import PatterError
from getpatter.tools import Tool
from getpatter.types import is_e164, masked

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

    from getpatter.models import CallResult

logger = logging.getLogger(__name__)

Json: TypeAlias = dict[str, Any]
ToolStatus: TypeAlias = Literal["completed", "no-answer", "busy", "failed", "timeout"]

DESCRIPTION: Final = (
    "Call somebody on the phone and have a spoken conversation with them to reach a goal. Returns what was "
    "said and how the call ended."
)
PROMPT: Final = (
    "You are calling somebody on the phone. Be brief and polite, and say goodbye before you end."
)
LONGEST_S: Final = 1800

_PARAMETERS: Final = ("to", "goal", "first_message", "max_duration_sec")
_STATUS: Final[Mapping[str, ToolStatus]] = {
    "answered": "completed",
    "voicemail": "completed",
    "no_answer": "no-answer",
    "busy": "busy",
    "failed": "failed",
}


class Phone(Protocol):
    """What a `PatterTool` needs of a `Patter`."""

    @property
    def is_serving(self) -> bool:
        """Whether `serve()` runs."""
        ...

    @property
    def ready(self) -> Awaitable[str]:
        """Done when calls can be placed."""
        ...

    @property
    def agent(self) -> Callable[..., Agent]:
        """Makes an agent."""
        ...

    @property
    def serve(self) -> Callable[..., Coroutine[Any, Any, None]]:
        """Runs until `disconnect()`."""
        ...

    @property
    def call(self) -> Callable[..., Coroutine[Any, Any, CallResult | None]]:
        """Places a call."""
        ...

    def disconnect(self) -> Coroutine[Any, Any, None]:
        """End `serve()`."""
        ...


@dataclass(frozen=True, slots=True)
class PatterToolResult:
    """What came of one call."""

    call_id: str
    status: ToolStatus
    duration_seconds: float = 0.0
    outcome: str = ""
    """As in `CallResult`: `answered`, `voicemail`, `no_answer`, `busy`, `failed`."""
    transcript: tuple[Mapping[str, str], ...] = field(default=(), hash=False)
    """`{"role": "agent" or "user", "text"}` in spoken order."""
    cost_usd: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """`p95_latency_ms`, and `cost` with `stt`, `tts`, `llm`, `telephony`."""

    def to_dict(self) -> Json:
        """All fields, ready for JSON."""
        return {
            "call_id": self.call_id,
            "status": self.status,
            "duration_seconds": self.duration_seconds,
            "outcome": self.outcome,
            "transcript": [dict(line) for line in self.transcript],
            "cost_usd": self.cost_usd,
            "metrics": dict(self.metrics),
        }


class PatterTool:
    """Gives another agent a telephone.

    ```python
    tool = PatterTool(phone)
    async with tool:
        result = await tool.execute(to="+15550002222", goal="Book a table for two at eight.")
    ```

    `openai_schema()`, `anthropic_schema()`, `hermes_schema()` and `langchain_tool()` describe it to a model; what
    the model asks for goes to `execute()`.
    """

    def __init__(  # noqa: PLR0913 - the documented parameters
        self,
        phone: Phone,
        agent: Agent | Mapping[str, Any] | None = None,
        name: str = "make_phone_call",
        description: str = DESCRIPTION,
        max_duration_sec: int = 180,
        recording: bool = False,  # noqa: FBT001, FBT002 - documented
        *,
        serialize: bool = True,
        dial_allow: list[str] | tuple[str, ...] | None = None,
    ) -> None:
        """Describe the tool. Nothing is opened.

        Args:
            phone: The `Patter` that places the calls. If it serves already, its server is used.
            agent: Who talks: an `Agent`, keywords of `phone.agent()`, or `None` for the default engine.
            name: The tool's name for the model.
            description: What the model reads about it.
            max_duration_sec: Seconds a call may take when the model names no number, 1 to 1800.
            recording: Have the carrier record these calls.
            serialize: One call at a time; `False`: as many as the server allows.
            dial_allow: Numbers and prefixes (`"+1555*"`) that may be called. The number comes from a model, so a
                list is wise. `None`: any.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument is out of range or malformed.
        """
        if agent is not None and not isinstance(agent, (Agent, Mapping)):
            raise TypeError(
                f"agent must be an Agent or a dict of keywords, not {type(agent).__name__}"
            )
        Tool(name=name, description=description, handler=_never)  # the rules for names
        for entry in dial_allow or ():
            check_transfer_entry(entry)
        self.name = name
        self.description = description
        self._phone = phone
        self._agent = dict(agent) if isinstance(agent, Mapping) else agent
        self._longest_s = _seconds(max_duration_sec)
        self._is_recorded = recording
        self._allow = None if dial_allow is None else tuple(dial_allow)
        self._one_at_a_time = asyncio.Lock() if serialize else None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._options: Json = {}

    def __repr__(self) -> str:
        return f"PatterTool(name={self.name!r})"

    async def __aenter__(self) -> PatterTool:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ------------------------------------------------------------------------------------- serving

    async def start(self, **serving: Any) -> None:
        """Begin to serve in the background; returns when calls can be placed. Idempotent.

        Args:
            serving: As `Patter.serve()`: `port`, `tunnel`, ...

        Raises:
            Exception: whatever made `serve()` fail.
        """
        async with self._starting:
            if self._phone.is_serving:
                await self._phone.ready
                return
            self._options |= serving
            agent = self._agent if isinstance(self._agent, Agent) else self._agent_for("")
            task = asyncio.get_running_loop().create_task(
                self._phone.serve(agent, **self._options), name="phone of a tool"
            )
            await asyncio.sleep(0)  # serve() has begun: what is ready now is this run
            try:
                await self._phone.ready
            except BaseException:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise
            task.add_done_callback(_report)
            self._task = task

    async def stop(self) -> None:
        """End what `start()` began; a server that ran before goes on. Idempotent."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            await self._phone.disconnect()
            await asyncio.gather(task, return_exceptions=True)

    # ------------------------------------------------------------------------------------- calling

    async def execute(
        self, arguments: Mapping[str, Any] | None = None, /, **keywords: Any
    ) -> PatterToolResult:
        """Call somebody, and wait until the call is over.

        Args:
            arguments: What a model gave, as one dict; or the same as keywords:
            keywords: `to` (E.164, required), `goal`, `first_message`, `max_duration_sec`.

        Raises:
            ValueError: a value is wrong, or `dial_allow` does not list the number.
            TypeError: a value has the wrong type, or is unknown.
            PatterError: the phone cannot serve, or the carrier refused the call.
        """
        given = dict(arguments or {}) | keywords
        to, goal, first_message, longest_s = self._checked(given)
        agent = self._agent_for(goal)
        async with self._one_at_a_time or _Open():
            await self.start()
            try:
                result = await self._phone.call(
                    to,
                    agent=agent,
                    first_message=first_message,
                    max_call_duration=longest_s,
                    recording=self._is_recorded or None,
                    wait=True,
                )
            except TimeoutError:
                return PatterToolResult(call_id="", status="timeout")
        assert result is not None, "wait=True"
        return _told(result)

    def _checked(self, given: Json) -> tuple[str, str, str, int]:
        unknown = given.keys() - set(_PARAMETERS)
        if unknown:
            raise TypeError(f"{self.name}: unknown {sorted(unknown)}; it takes {list(_PARAMETERS)}")
        for name in ("to", "goal", "first_message"):
            if not isinstance(given.get(name) or "", str):
                raise TypeError(
                    f"{self.name}: {name} must be a str, not {type(given[name]).__name__}"
                )
        to = given.get("to") or ""
        if not is_e164(to):
            shown = masked(to) if to else "nothing"
            raise ValueError(f"{self.name}: 'to' must be E.164 like +15550001234, got {shown}")
        if not allows_transfer(self._allow, to):
            raise ValueError(f"{self.name}: {masked(to)} is not in dial_allow")
        longest = given.get("max_duration_sec")
        return (
            to,
            given.get("goal") or "",
            given.get("first_message") or "",
            self._longest_s if longest is None else _seconds(longest),
        )

    def _agent_for(self, goal: str) -> Agent:
        """Who makes a call with this goal. The goal reaches this call alone."""
        match self._agent:
            case Agent() as agent:
                if not goal:
                    return agent
                return dataclasses.replace(agent, system_prompt=_joined(agent.system_prompt, goal))
            case dict() as options:
                prompt = _joined(options.get("system_prompt", ""), goal)
                return self._phone.agent(**(options | {"system_prompt": prompt or PROMPT}))
            case _:
                return self._phone.agent(system_prompt=_joined(PROMPT, goal))

    # ------------------------------------------------------------------------------------- schemas

    def parameters(self) -> Json:
        """The JSON Schema of the arguments."""
        return {
            "type": "object",
            "properties": {
                "to": {
                    "type": "string",
                    "description": "Whom to call, in E.164 form, such as +15550001234.",
                },
                "goal": {"type": "string", "description": "What the call is to achieve."},
                "first_message": {
                    "type": "string",
                    "description": "What is said first, word for word, when the call is answered.",
                },
                "max_duration_sec": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": LONGEST_S,
                    "description": f"Seconds the call may take; {self._longest_s} if left out.",
                },
            },
            "required": ["to"],
            "additionalProperties": False,
        }

    def openai_schema(self) -> Json:
        """For `tools=` of a chat completion."""
        return {"type": "function", "function": self.hermes_schema()}

    def anthropic_schema(self) -> Json:
        """For `tools=` of a message."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": self.parameters(),
        }

    def hermes_schema(self) -> Json:
        """Name, description and parameters, flat."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters(),
        }

    def langchain_tool(self) -> StructuredTool:
        """The tool as a LangChain `StructuredTool`, which runs `execute()`.

        Raises:
            ImportError: `langchain-core` is not installed.
        """
        try:
            from langchain_core.tools import StructuredTool  # noqa: PLC0415 - not ours to require
        except ImportError:
            raise ImportError("langchain_tool() needs: pip install langchain-core") from None

        async def run(**arguments: Any) -> Json:
            return (await self.execute(arguments)).to_dict()

        return StructuredTool(
            name=self.name,
            description=self.description,
            args_schema=self.parameters(),
            coroutine=run,
        )

    def hermes_handler(self) -> Callable[..., Coroutine[Any, Any, str]]:
        """A function from arguments to a JSON string: the result, or `{"error": "..."}`. It never raises."""

        async def handler(args: Mapping[str, Any] | None = None, **_: Any) -> str:
            try:
                return json.dumps((await self.execute(args)).to_dict(), ensure_ascii=False)
            except (PatterError, ValueError, TypeError, OSError) as error:
                return json.dumps({"error": str(error)}, ensure_ascii=False)

        return handler

    def register_hermes(self, registry: Any, toolset: str = "patter") -> None:
        """Enter the tool in the registry of a Hermes agent (its `tools.registry.registry`)."""
        registry.register(
            name=self.name,
            toolset=toolset,
            schema=self.hermes_schema(),
            handler=self.hermes_handler(),
            is_async=True,
        )


class _Open:
    """No lock."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


async def _never(args: Json, ctx: Json) -> None:
    """Stands for a handler where only a declaration is checked."""


def _seconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_duration_sec must be an int, not {type(value).__name__}")
    if not 1 <= value <= LONGEST_S:
        raise ValueError(f"max_duration_sec must be 1 to {LONGEST_S} seconds, got {value}")
    return value


def _joined(prompt: str, goal: str) -> str:
    return f"{prompt}\n\n{goal}" if prompt and goal else prompt or goal


def _told(result: CallResult) -> PatterToolResult:
    metrics: Json = {"p95_latency_ms": 0.0, "cost": {}}
    cost = result.cost
    if result.metrics is not None:
        metrics["p95_latency_ms"] = result.metrics.latency_p95.total_ms
    parts = ("stt", "tts", "llm", "telephony")
    metrics["cost"] = {part: getattr(cost, part) if cost is not None else 0.0 for part in parts}
    return PatterToolResult(
        call_id=result.call_id,
        status="timeout" if result.reason == "time_limit" else _STATUS[result.outcome],
        duration_seconds=result.duration_seconds,
        outcome=result.outcome,
        transcript=tuple(
            {
                "role": "agent" if line["role"] == "assistant" else "user",
                "text": str(line["text"]),
            }
            for line in result.transcript
        ),
        cost_usd=cost.total if cost is not None else 0.0,
        metrics=metrics,
    )


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("tool.phone_stopped error=%s", type(error).__name__)
