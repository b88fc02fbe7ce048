"""Drafts, budgets and summaries, in whole calls with a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from getpatter.agent import CompactionConfig, build_agent
from getpatter.models import CallMetrics, Transcript
from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS, is_audible
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Tool
from tests.support.models import ActingLLM, Request, in_turn, used, wants


@dataclass
class Guessing(ScriptedSTT):
    """Guesses its line while the caller still speaks, and confirms it with a full stop."""

    guess: str = ""

    def clone(self) -> Guessing:
        return Guessing(self.lines, guess=self.guess)

    def feed(self, data: bytes) -> None:
        if is_audible(data) and not self._spoke and self._left and self._results is not None:
            guess = Transcript(self.guess or self._left[0].rstrip(".").lower(), is_final=False)
            asyncio.get_running_loop().call_later(0.2, self._results.put_nowait, guess)
        ScriptedSTT.feed(self, data)


async def talk(
    llm: ActingLLM, *lines: str, stt: ScriptedSTT | None = None, **options: Any
) -> tuple[list[tuple[str, str]], CallMetrics]:
    made = build_agent(
        "Be brief.",
        None,
        stt=stt or ScriptedSTT(lines),
        tts=ScriptedTTS(),
        llm=llm,
        **({"first_message": "Hello."} | options),
    )
    async with Simulation(made) as phone:
        call = await phone.talk(Polite(*lines, voice=babble))
    metrics = phone.calls[call.sid].end["metrics"]
    assert isinstance(metrics, CallMetrics)
    return phone.transcript(call.sid), metrics


# -------------------------------------------------------------------------------------------- drafts


@in_virtual_time
async def test_a_draft_of_the_same_words_is_the_answer() -> None:
    llm = ActingLLM(in_turn(["At seven."]), first=0.5)
    line = "When do you close in the evening."
    plain, before = await talk(ActingLLM(in_turn(["At seven."]), first=0.5), line)
    said, metrics = await talk(llm, line, stt=Guessing([line]), preemptive_generation=True)
    assert said == plain == [("assistant", "Hello."), ("user", line), ("assistant", "At seven.")]
    assert len(llm.requests) == 1
    assert (metrics.preemptive_hits, metrics.preemptive_misses) == (1, 0)
    late, early = before.turns[1].latency.llm_ttft_ms, metrics.turns[1].latency.llm_ttft_ms
    assert late is not None
    assert early is not None
    assert early < late - 400, "the model had begun before the turn was certain"


@in_virtual_time
async def test_a_draft_of_other_words_is_thrown_away() -> None:
    llm = ActingLLM(lambda request: [f"You said {request.said_last}"], first=0.1)
    stt = Guessing(["No, at eight."], guess="no at")
    said, metrics = await talk(llm, "No, at eight.", stt=stt, preemptive_generation=True)
    assert said[-1] == ("assistant", "You said No, at eight.")
    assert (metrics.preemptive_hits, metrics.preemptive_misses) == (0, 1)
    assert [each.said_last for each in llm.requests] == ["no at", "No, at eight."]


@in_virtual_time
async def test_tools_of_a_draft_run_when_the_turn_is_certain_and_not_before() -> None:
    ran: list[float] = []
    committed: list[float] = []

    def act(request: Request) -> list[Any]:
        return ["Booked."] if request.results else [wants("book")]

    async def transcript(event: dict[str, Any]) -> None:
        if event["role"] == "user":
            committed.append(asyncio.get_running_loop().time())

    async def booked(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        ran.append(asyncio.get_running_loop().time())
        return "done"

    llm = ActingLLM(act, first=0.05)
    line = "Book me a table at the window please."
    made = build_agent(
        "Be brief.", None, stt=Guessing([line]), tts=ScriptedTTS(), llm=llm, first_message="Hello.",
        tools=[Tool("book", handler=booked)], preemptive_generation=True,
    )  # fmt: skip
    async with Simulation(made, on_transcript=transcript) as phone:
        call = await phone.talk(Polite(line, voice=babble))
    metrics = phone.calls[call.sid].end["metrics"]
    assert phone.transcript(call.sid)[-1] == ("assistant", "Booked.")
    assert metrics.preemptive_hits == 1
    assert len(ran) == 1
    assert ran[0] >= committed[0]


# -------------------------------------------------------------------------------------------- memory


@in_virtual_time
async def test_a_budget_leaves_out_the_oldest_and_is_reported() -> None:
    llm = ActingLLM(in_turn(["A long enough answer to count for something."]))
    _, metrics = await talk(
        llm, "one", "two", "three", context_token_budget=40, disable_phone_preamble=True
    )
    last = [str(each["content"]) for each in llm.requests[-1].messages]
    assert last[0] == "Be brief."
    assert "one" not in last
    assert last[-1] == "three"
    assert 0 < metrics.context_tokens <= 40


@in_virtual_time
async def test_max_history_bounds_what_a_model_sees() -> None:
    llm = ActingLLM(in_turn(["Yes."]))
    await talk(llm, "one", "two", "three", max_history=2)
    assert [each["content"] for each in llm.requests[-1].messages[1:]] == ["Yes.", "three"]


@in_virtual_time
async def test_a_long_conversation_is_summarised_beside_the_call() -> None:
    def act(request: Request) -> list[Any]:
        if str(request.messages[0]["content"]).startswith("Note"):
            return ["The caller counts.", used(5, 5)]
        return ["A long enough answer to count for something."]

    llm = ActingLLM(act)
    said, metrics = await talk(
        llm,
        "one", "two", "three", "four",
        compaction=CompactionConfig(trigger_tokens=30, keep_last_messages=2, instructions="Note it."),
        disable_phone_preamble=True,
    )  # fmt: skip
    summaries = [each for each in llm.requests if each.messages[0]["content"] == "Note it."]
    assert summaries
    assert "user: one" in str(summaries[0].messages[1]["content"])
    assert summaries[0].tools is None
    asked = [each for each in llm.requests if each not in summaries]
    last = [str(each["content"]) for each in asked[-1].messages]
    assert last[1].endswith("The caller counts.")
    assert "one" not in last
    assert last[-1] == "four"
    assert len(said) == 9, "nobody hears of it"
    assert metrics.turns[-1].latency.llm_ttft_ms is not None


@in_virtual_time
async def test_a_summary_that_fails_changes_nothing() -> None:
    def act(request: Request) -> list[Any]:
        if str(request.messages[0]["content"]).startswith("Note"):
            return [RuntimeError("no")]
        return ["A long enough answer to count for something."]

    llm = ActingLLM(act)
    said, _ = await talk(
        llm,
        "one", "two", "three",
        compaction=CompactionConfig(trigger_tokens=30, keep_last_messages=1, instructions="Note it."),
    )  # fmt: skip
    assert len(said) == 7
    asked = [each for each in llm.requests if each.messages[0]["content"] != "Note it."]
    assert "one" in [each["content"] for each in asked[-1].messages]


@in_virtual_time
async def test_a_preamble_is_asked_of_the_model() -> None:
    async def look(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        return "found"

    for wanted in (True, False):
        llm = ActingLLM(in_turn(["Yes."]))
        await talk(llm, "one", tools=[Tool("look", handler=look)], tool_call_preambles=wanted)
        system = str(llm.requests[0].messages[0]["content"])
        assert ("Before you use a tool" in system) is wanted
