"""What the model of one call is and may do, and how that changes while the call goes on.

A call begins as one agent. Three things change it, in this call only: another agent takes over (`handoff_to`), a
skill is taken up (`use_skill`), and tool servers lend their tools. Each change gives the executor another set of tools
and tells whoever runs the conversation about the new prompt, voice and guardrails.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from getpatter.core.variables import substitute
from getpatter.runtime.tools import Surroundings, ToolExecutor
from getpatter.tools import Tool

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.agent_parts import ConsultConfig, MCPServerConfig, Skill

logger = logging.getLogger(__name__)

HANDOFF: Final = "handoff_to"
SKILL: Final = "use_skill"
CHANGE_WITHIN: Final = 20.0
"""Seconds for a change: servers of tools to connect, an engine's session to be renewed."""
_TAKEN_OVER: Final = (
    "You have taken over this conversation; your instructions have changed. Go on with the caller, "
    "who has heard everything above. Do not greet them as if the call had just begun."
)
_TAKEN_UP: Final = "Its instructions are part of yours from now on."
_WHY: Final[Mapping[str, object]] = {
    "type": "string",
    "maxLength": 500,
    "description": "Why, in one sentence, and what the other has to know.",
}

Changed = Callable[["Agent"], Awaitable[None]]


class LendsTools(Protocol):
    """Connections to tool servers, for one call (`runtime/mcp_tools.py`)."""

    async def connected(self, servers: Sequence[MCPServerConfig]) -> None:
        """Wait, 5 s at most, until these have connected or failed. Never raises for what they did."""
        ...

    def tools(self, servers: Sequence[MCPServerConfig], taken: Sequence[str]) -> Sequence[Tool]:
        """What those of them that are connected lend, under names that are not `taken`."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the tools of a call come from, besides the agent's own."""

    built_in: Callable[[Agent], Sequence[Tool]] = lambda _: ()
    """What every agent can do; some of it within limits of the agent."""
    consult: Callable[[ConsultConfig], Tool] | None = None
    """The tool that asks another agent."""
    lent: LendsTools | None = None
    variables: Callable[[], Mapping[str, object]] = dict
    """Values of placeholders in the prompts of those who take over."""


class Abilities:
    """Who the model of one call is, and the executor of its tools."""

    def __init__(self, agent: Agent, sources: Sources, surroundings: Surroundings) -> None:
        """Begin as `agent`, whose prompt is complete."""
        self.agent = agent
        """Who has the call now, with the instructions of the skills that were taken up."""
        self._sources = sources
        self._surroundings = surroundings
        self._taken_up: list[Skill] = []
        self._changed: Changed | None = None
        self._is_equipped = not agent.mcp_servers
        self.executor = ToolExecutor(self._tools(), surroundings)

    def on_change(self, changed: Changed) -> None:
        """`changed` is told of each change of `agent`, before the model hears of it."""
        self._changed = changed

    async def equipped(self) -> None:
        """Wait until the tools of the agent's servers are there, or are given up: 5 s at most, and once."""
        if not self._is_equipped and self._sources.lent is not None:
            await self._sources.lent.connected(self.agent.mcp_servers)
            self._is_equipped = True
            self.executor.offer(self._tools())

    # -------------------------------------------------------------------------------------- the tools

    def _tools(self) -> list[Tool]:
        agent, sources = self.agent, self._sources
        offered = [*agent.tools]
        for skill in self._taken_up:
            offered += skill.tools
        offered += sources.built_in(agent)
        if agent.consult is not None and sources.consult is not None:
            offered.append(sources.consult(agent.consult))
        if agent.handoffs:
            offered.append(self._handoff_to())
        if agent.skills:
            offered.append(self._use_skill())
        if sources.lent is not None:
            later = [tool.name for skill in agent.skills for tool in skill.tools]
            taken = [*(tool.name for tool in offered), *later]
            offered += sources.lent.tools(agent.mcp_servers, taken)
        return offered

    async def _become(self, agent: Agent) -> None:
        self.agent = agent
        self.executor.offer(self._tools())
        if self._changed is not None:
            await self._changed(agent)

    # --------------------------------------------------------------------------------------- handoffs

    def _handoff_to(self) -> Tool:
        return Tool(
            HANDOFF,
            "Let another agent go on with this conversation, when it is what they are there for. The caller stays "
            "on the line and hears no change but the voice; say in a few words what happens before you do it.",
            _choice("name", [*self.agent.handoffs], reason=_WHY),
            self._hand_over,
            timeout_s=CHANGE_WITHIN,
        )

    async def _hand_over(self, args: Mapping[str, str], ctx: object) -> dict[str, object]:
        del ctx
        name = args["name"]
        taker = self.agent.handoffs.get(name)
        if taker is None:
            return {"error": f"Another agent has the conversation now; {name!r} is none of theirs."}
        values = {**taker.variables, **self._sources.variables()}
        agent = taken_over(self.agent, taker, substitute(taker.system_prompt, values))
        self._taken_up = []
        if self._sources.lent is not None:
            await self._sources.lent.connected(agent.mcp_servers)
        await self._become(agent)
        self._surroundings.emit("handoff", {"name": name})
        return {"status": "handed_over", "to": name, "reason": args["reason"], "note": _TAKEN_OVER}

    # ----------------------------------------------------------------------------------------- skills

    def _use_skill(self) -> Tool:
        skills = self.agent.skills
        listed = " ".join(f"{skill.name}: {skill.description.rstrip('.')}." for skill in skills)
        return Tool(
            SKILL,
            "Take up a skill: more instructions and tools, for the rest of this call. Do it as soon as the "
            f"conversation turns to what one is for. {listed}",
            _choice("skill_name", [skill.name for skill in skills]),
            self._take_up,
            effect="read",
            timeout_s=CHANGE_WITHIN,
        )

    async def _take_up(self, args: Mapping[str, str], ctx: object) -> dict[str, object]:
        del ctx
        name = args["skill_name"]
        skill = next((each for each in self.agent.skills if each.name == name), None)
        if skill is None:
            return {"error": f"There is no skill {name!r}."}
        if skill not in self._taken_up:
            self._taken_up.append(skill)
            more = substitute(skill.instructions, self._sources.variables())
            prompt = f"{self.agent.system_prompt}\n\n{more}"
            await self._become(replace(self.agent, system_prompt=prompt))
        tools = [tool.name for tool in skill.tools]
        return {"status": "active", "skill": name, "tools": tools, "note": _TAKEN_UP}


def _choice(name: str, choices: list[str], **more: Mapping[str, object]) -> dict[str, object]:
    properties = {name: {"type": "string", "enum": choices}, **more}
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def taken_over(now: Agent, taker: Agent, prompt: str) -> Agent:
    """The agent of a call after a handoff: what `taker` does and says, on the call of `now`.

    What `taker` does not name stays: a voice, a model, a list of numbers that calls may be transferred to.
    """
    names = ["tts", "voice", "llm", "model"] if now.engine is None else ["voice"]
    named: dict[str, Any] = {
        name: value for name in names if (value := getattr(taker, name)) is not None
    }
    if taker.transfer_allow is not None:
        named["transfer_allow"] = taker.transfer_allow
    agent = replace(
        now,
        system_prompt=prompt,
        tools=taker.tools,
        guardrails=taker.guardrails,
        handoffs=taker.handoffs,
        skills=taker.skills,
        consult=taker.consult,
        mcp_servers=taker.mcp_servers,
        **named,
    )
    if now.engine is None:
        return agent
    theirs = taker.engine
    if theirs is not None and theirs.kind == now.engine.kind:
        return replace(agent, engine=theirs)
    return with_voice(agent, named)


def with_voice(agent: Agent, changes: Mapping[str, object]) -> Agent:
    """The agent whose engine has the voice and model that `changes` names for this call."""
    wanted = {
        name: value
        for name in ("voice", "model")
        if isinstance(value := changes.get(name), str) and value
    }
    engine: Any = agent.engine
    if not wanted or not is_dataclass(engine):
        return agent
    known = {each.name for each in fields(engine)}
    named = {name: value for name, value in wanted.items() if name in known}
    replaced: Callable[..., Any] = replace
    return replace(agent, engine=replaced(engine, **named))
