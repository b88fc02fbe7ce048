"""Where one call's engine stands ready: connected while the phone rings, handed to the call at its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from getpatter.core import messages as m
from getpatter.core.duplex import DuplexSession
from getpatter.core.engine_manners import EngineManners
from getpatter.core.guardrails import compiled
from getpatter.core.history import Line
from getpatter.core.manners import Manners
from getpatter.core.variables import substitute
from getpatter.engines.base import Briefing, SpeechEngine, ToolSchema, Usage
from getpatter.runtime.abilities import Abilities
from getpatter.runtime.call import Call, Parts
from getpatter.runtime.call_tools import tools_of
from getpatter.runtime.consulting import Consulting
from getpatter.runtime.control import CallControl
from getpatter.runtime.duplex import Duplex, Toolbox
from getpatter.runtime.house import RunsExchanges
from getpatter.runtime.identity import Identity
from getpatter.runtime.mcp_tools import ToolServers
from getpatter.runtime.screening import Screening
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.tools import ToolExecutor, Webhooks
from getpatter.types import AudioFormat, Instant

if TYPE_CHECKING:
    from getpatter.agent import Agent

Emit = Callable[[str, dict[str, object]], None]
AT_ONCE_MS: Final = 300.0
"""Engines stop for a voice about this soon; a higher threshold is kept by us."""


def briefing_of(
    agent: Agent,
    stream: AudioFormat,
    tools: tuple[ToolSchema, ...],
    *,
    first_message: str = "",
    variables: Mapping[str, object] | None = None,
) -> Briefing:
    """What the engine of a call with `agent` is told."""
    threshold = agent.barge_in_threshold_ms
    return Briefing(
        instructions=substitute(agent.system_prompt, variables or {}),
        first_message=first_message,
        language=str(agent.language),
        tools=tools,
        stream=stream,
        interrupts=threshold > 0,
        interrupts_late=threshold > AT_ONCE_MS,
        interrupts_after_ms=float(threshold),
        voice=agent.voice,
        model=agent.model,
        turn_detection=agent.realtime_turn_detection,
        noise_reduction=agent.openai_realtime_noise_reduction,
        gate_on_transcript=agent.realtime_gate_response_on_transcript,
        variables={name: str(value) for name, value in (variables or {}).items()},
        is_guarded=bool(agent.guardrails),
    )


def engine_manners(agent: Agent, stream: AudioFormat) -> EngineManners:
    """How the engine of `agent` behaves."""
    engine = cast("SpeechEngine", agent.engine)
    return engine.manners(briefing_of(agent, stream, ()))


def duplex_session(
    agent: Agent,
    stream: AudioFormat,
    manners: Manners,
    *,
    began_at: Instant,
    wall_offset: float,
) -> DuplexSession:
    """The session of a call with an engine."""
    return DuplexSession(
        stream,
        manners,
        engine_manners(agent, stream),
        began_at=began_at,
        wall_offset=wall_offset,
    )


class EngineDesk:
    """The engine, the tools and the guardrails of one call."""

    def __init__(  # noqa: PLR0913 - everything a call's engine needs to know
        self,
        agent: Agent,
        identity: Identity,
        nest: TaskNest,
        *,
        tell: Callable[[m.AnyInput], None],
        control: CallControl,
        http: RunsExchanges,
        lost: Callable[[str, Exception], None],
        emit: Emit,
        expected: AudioFormat,
        first_message: str = "",
        variables: Mapping[str, object] | None = None,
        webhooks: Webhooks | None = None,
        became: Callable[[Agent], None] = lambda _: None,
        consulting: Consulting | None = None,
        used: Callable[[Usage], None] = lambda _: None,
    ) -> None:
        """Begin to connect the engine of `agent`, as far as the call is known."""
        self.agent = agent
        self._identity = identity
        self._nest = nest
        self._tell = tell
        self._control = control
        self._webhooks = webhooks
        self._emit = emit
        self._variables: Mapping[str, object] = variables or {}
        self._call: Call | None = None
        self._first_message = first_message
        self._became = became
        self._consulting = consulting
        self._stream = expected
        self._is_connecting = False
        self._lent = ToolServers(nest.spawn)
        self._lent.connect(agent.mcp_servers)
        self._abilities = self._abilities_of(agent)
        self._duplex = Duplex(
            cast("SpeechEngine", agent.engine),
            self._briefing(),
            http=http,
            report=tell,
            lost=lambda error: lost("engine", error),
            spawn=nest.spawn,
            used=used,
        )
        nest.spawn(self._run(), name="engine")

    async def _run(self) -> None:
        """Connect once the session can be complete: with the tools that servers lend (CV-57)."""
        while (abilities := self._abilities).agent.mcp_servers:
            await abilities.equipped()
            if abilities is self._abilities:
                self._duplex.prepare(self._briefing())
                break
        self._is_connecting = True
        await self._duplex.run()

    async def _equip_late(self) -> None:
        await self._abilities.equipped()
        await self._duplex.rebrief(self._briefing())

    def _briefing(self) -> Briefing:
        return briefing_of(
            self._abilities.agent,
            self._stream,
            _schemas(self._tools),
            first_message=self._first_message,
            variables=self._variables,
        )

    @property
    def _tools(self) -> ToolExecutor:
        return self._abilities.executor

    def _abilities_of(self, agent: Agent) -> Abilities:
        abilities = tools_of(
            agent,
            self._identity,
            self._control,
            variables=lambda: self._variables,
            lines=self._lines,
            say=lambda text: self._tell(m.SayAsked(text)),
            emit=self._emit,
            webhooks=self._webhooks,
            consulting=self._consulting,
            lent=self._lent,
        )
        abilities.on_change(self._changed)
        return abilities

    async def _changed(self, agent: Agent) -> None:
        """Another agent has the call, or the same one has a skill more."""
        self._became(agent)
        self._tell(m.EngineGuarded(bool(agent.guardrails)))
        await self._duplex.rebrief(
            self._briefing(), cast("SpeechEngine", agent.engine), self._screening(agent)
        )

    def _screening(self, agent: Agent) -> Screening | None:
        if not agent.guardrails:
            return None
        return Screening(
            compiled(agent.guardrails),
            report=self._tell,
            spawn=self._nest.spawn,
            triggered=lambda name: self._emit("guardrail_triggered", {"name": name}),
        )

    def _lines(self) -> Sequence[Line]:
        return self._call.session.history.lines if self._call is not None else ()

    def equip(self, agent: Agent, call: Call, stream: AudioFormat) -> Parts:
        """The parts of the call. `agent` may have been changed since the ring; its prompt is complete."""
        self._call = call
        self._stream = stream
        if agent != self.agent:
            self._lent.connect(agent.mcp_servers)
            self._abilities = self._abilities_of(agent)
            if self._is_connecting and agent.mcp_servers != self.agent.mcp_servers:
                self._nest.spawn(self._equip_late(), name="equip")
        session = call.session
        assert isinstance(session, DuplexSession), "the call was begun for an engine"
        self._duplex.attach(
            self._briefing(), session, tools=self._tools, screening=self._screening(agent)
        )
        return self._duplex

    def settle(self, first_message: str, variables: Mapping[str, object]) -> None:
        """What `on_call_start` had to say is known. Before `equip`."""
        self._first_message = first_message
        self._variables = variables

    def turn_over(self, *, was_interrupted: bool) -> None:
        """An agent turn has ended."""
        self._tools.turn_over(was_interrupted=was_interrupted)

    def is_writing_here(self) -> bool:
        """Whether the code that asks is a tool of this call."""
        return self._tools.is_current_task()

    async def close(self) -> None:
        """Give everything back that belongs to this call."""
        await asyncio.gather(self._duplex.close(), self._tools.close(), self._lent.close())


def _schemas(tools: Toolbox) -> tuple[ToolSchema, ...]:
    found: list[ToolSchema] = []
    for each in tools.schemas:
        function = cast("Mapping[str, Any]", each.get("function", each))
        found.append(
            ToolSchema(function["name"], function.get("description", ""), function["parameters"])
        )
    return tuple(found)
