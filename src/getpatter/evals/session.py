"""A call in text with an agent, turn by turn: the conversation core of the phone, with words for ears and mouth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self, cast

from getpatter.agent import Agent
from getpatter.errors import CallEndedError
from getpatter.evals.scripted import ScriptedLLMProvider
from getpatter.events import PatterEventType
from getpatter.makers import text_llm
from getpatter.models import TurnMetrics
from getpatter.observability.event_bus import EventBus, Payload
from getpatter.runtime.text_call import CALLEE, CALLER, TextCall, TextOptions

TURN_WITHIN: Final = 60.0

HistoryItem = Mapping[str, object]


@dataclass(slots=True)
class ToolCall:
    """A tool that the agent called."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    id: str = ""
    result: object = None
    """What it answered; `None` while it runs, or when it failed."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What became of one thing that the caller said."""

    user_text: str
    agent_text: str
    """Everything that the agent said to it."""
    tool_calls: tuple[ToolCall, ...] = ()
    history_snapshot: tuple[HistoryItem, ...] = ()
    """The conversation so far: items with `role`, `text` and `timestamp`."""
    interrupted: bool = False
    metrics_turn: TurnMetrics | None = None
    """The numbers of the turn; `None` where the call ended before there were any."""


class EvalSession:
    """A conversation with an agent: `async with EvalSession(agent) as session: turn = await session.say("hello")`.

    Turns, hooks on text, guardrails, tools, handoffs, history and limits are those of a phone call.
    """

    def __init__(  # noqa: PLR0913 - the documented parameters
        self,
        agent: Agent,
        llm_provider: object | None = None,
        *,
        openai_key: str = "",
        call_id: str | None = None,
        caller: str = CALLER,
        callee: str = CALLEE,
        custom_params: Mapping[str, str] | None = None,
        turn_timeout_s: float = TURN_WITHIN,
    ) -> None:
        """Prepare; the call begins with `async with`.

        Args:
            agent: Who talks. Its recogniser, voice and engine are left out.
            llm_provider: The model that writes, instead of the agent's own.
            openai_key: For an agent without a model of text, such as an engine's; else `OPENAI_API_KEY`.
            call_id: Else `test_` and 12 hexadecimal digits.
            caller: The caller's number.
            callee: The agent's number.
            custom_params: As an outbound call, or a SIP header, would bring them.
            turn_timeout_s: Seconds that a turn may take.

        Raises:
            TypeError: `agent` is no `Agent`.
            ValueError: nobody can write the replies, or `turn_timeout_s` is not positive.
        """
        if not isinstance(agent, Agent):
            raise TypeError(f"agent must be made with phone.agent(...), not {type(agent).__name__}")
        if not turn_timeout_s > 0:
            raise ValueError(f"turn_timeout_s must be positive seconds, got {turn_timeout_s!r}")
        if llm_provider is not None:
            agent = dataclasses.replace(agent, engine=None, provider=None, llm=llm_provider)
        self._model = agent.llm
        self._within = turn_timeout_s
        self._bus = EventBus()
        self._tools: list[ToolCall] = []
        self._turns: list[TurnMetrics] = []
        self._call = TextCall(
            agent,
            options=TextOptions(
                call_id=call_id or "",
                caller=caller,
                callee=callee,
                custom_params=dict(custom_params or {}),
            ),
            writer=lambda each: text_llm(each, {"openai_key": openai_key}),
            bus=self._bus,
        )
        self._bus.on(PatterEventType.TOOL_CALL_STARTED, self._tool_started)
        self._bus.on(PatterEventType.TOOL_CALL_COMPLETED, self._tool_completed)
        self._bus.on(PatterEventType.TURN_ENDED, self._turn_ended)

    @property
    def call_id(self) -> str:
        """The call's."""
        return self._call.call_id

    @property
    def history(self) -> list[dict[str, object]]:
        """What was said so far: `role` (`user`, `assistant`), `text`, `timestamp`."""
        return self._call.history

    @property
    def is_over(self) -> bool:
        """Whether somebody has ended the call."""
        return self._call.is_over

    @property
    def end_reason(self) -> str:
        """Why it is over, as in `on_call_end`; empty while it is not."""
        return self._call.line.reason if self._call.is_over else ""

    def transcript(self) -> str:
        """What was said so far, a line each: `user: ...`, `assistant: ...`."""
        return "\n".join(f"{each['role']}: {each['text']}" for each in self.history)

    async def __aenter__(self) -> Self:
        await self._call.begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._call.end()
        await self._bus.aclose()
        if kind is None and isinstance(self._model, ScriptedLLMProvider):
            self._model.check()

    async def say(self, text: str) -> TurnResult:
        """The caller says `text`; waits for everything that the agent says and does about it.

        Raises:
            ValueError: there are no words in it.
            CallEndedError: the call is over.
            TimeoutError: the turn took longer than `turn_timeout_s`.
            ScriptedTurnsError: the model is scripted, and the script has no further turn.
        """
        if not text.strip():
            raise ValueError("say() needs words: a caller who is silent has no turn")
        if self.is_over:
            raise CallEndedError(
                f"the call is over ({self.end_reason}): nobody hears {text[:40]!r}"
            )
        lines, tools, turns = len(self.history), len(self._tools), len(self._turns)
        self._call.say(text)
        try:
            await self._call.quiet(self._within)
        except TimeoutError:
            raise TimeoutError(f"the agent's turn took longer than {self._within:g} s") from None
        await self._bus.drain()
        if isinstance(self._model, ScriptedLLMProvider):
            self._model.check(is_over=False)
        history = self.history
        answered = [each for each in history[lines:] if each["role"] == "assistant"]
        numbers = self._turns[turns:]
        return TurnResult(
            user_text=text,
            agent_text=" ".join(str(each["text"]) for each in answered),
            tool_calls=tuple(self._tools[tools:]),
            history_snapshot=tuple(history),
            interrupted=any(each.interrupted for each in numbers),
            metrics_turn=numbers[-1] if numbers else None,
        )

    async def user_says(self, text: str) -> TurnResult:
        """The same as `say`."""
        return await self.say(text)

    # -------------------------------------------------------------------------------------- events

    def _tool_started(self, event: Payload) -> None:
        arguments = cast("Mapping[str, object]", event["arguments"])
        self._tools.append(ToolCall(str(event["name"]), arguments, str(event["tool_call_id"])))

    def _tool_completed(self, event: Payload) -> None:
        for call in reversed(self._tools):
            if call.id == event["tool_call_id"]:
                call.result, call.error = event["result"], cast("str | None", event["error"])
                return

    def _turn_ended(self, event: Payload) -> None:
        turn = event["turn"]
        if isinstance(turn, TurnMetrics):
            self._turns.append(turn)
