"""`TestSession`: a conversation in text, with everything of a call but its sound."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from getpatter import CallControl, Guardrail, Patter, PipelineHooks, TestSession, Tool
from getpatter.agent import Agent, build_agent
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.time import in_virtual_time
from tests.support.models import ActingLLM, in_turn, wants


def agent(*replies: str, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(["never asked"]),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(list(replies) or ["I see."]),
        "first_message": "Welcome.",
    } | options
    return build_agent("You are the desk of a clinic.", None, **given)


async def typed(its_agent: Agent, *lines: str, **options: Any) -> str:
    """What the screen shows when somebody types `lines`, and then ends the input."""
    screen = io.StringIO()
    source = io.StringIO("".join(f"{line}\n" for line in lines))
    await TestSession(its_agent, input=source, output=screen, **options).run()
    return screen.getvalue()


@in_virtual_time
async def test_a_conversation_from_the_first_message_to_the_end_of_the_input() -> None:
    ended: list[Mapping[str, Any]] = []
    screen = await typed(
        agent("Which day?", "Monday it is. Goodbye."),
        "a haircut",
        "Monday",
        on_call_end=ended.append,
    )
    told = screen.split("\n\n")[0]
    assert "test_" in told
    assert "+15550000001" in told
    assert "+15550000002" in told
    assert "/transfer <number>" in told
    assert "Agent: Welcome.\n" in screen
    assert "You: Agent: Which day?\n" in screen
    assert "You: Agent: Monday it is. Goodbye.\n" in screen
    (event,) = ended
    assert event["call_id"].startswith("test_")
    assert len(event["call_id"]) == len("test_") + 12
    assert (event["direction"], event["reason"]) == ("test", "caller_hangup")
    assert [line["text"] for line in event["transcript"]] == [
        "Welcome.",
        "a haircut",
        "Which day?",
        "Monday",
        "Monday it is. Goodbye.",
    ]
    assert event["metrics"].cost.total == 0
    assert len(event["metrics"].turns) == 3


@in_virtual_time
async def test_tools_guardrails_hooks_and_transforms_are_those_of_a_call() -> None:
    booked: list[dict[str, Any]] = []

    async def book(args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, Any]:
        booked.append({**args, "caller": ctx["caller"]})
        return {"ok": True}

    tool = Tool(
        name="book",
        description="Books.",
        parameters={"type": "object", "properties": {"day": {"type": "string"}}},
        handler=book,
    )
    screen = await typed(
        agent(
            llm=ActingLLM(
                in_turn(
                    [wants("book", day="Monday")],
                    ["**Booked** for you."],
                    ["You should sue them."],
                )
            ),
            tools=[tool],
            guardrails=[Guardrail(name="law", blocked_terms=["sue"], replacement="Ask a lawyer.")],
            hooks=PipelineHooks(after_transcribe=lambda text, _: text.upper()),
            text_transforms=[lambda text: text.replace("*", "")],
        ),
        "monday",
        "what now",
        "/history",
    )
    assert booked == [{"day": "Monday", "caller": "+15550000001"}]
    assert "Agent: Booked for you.\n" in screen
    assert "Agent: Ask a lawyer.\n" in screen
    assert "user: MONDAY\n" in screen


@in_virtual_time
async def test_on_message_answers_and_may_hang_up_or_transfer() -> None:
    reasons: list[str] = []

    async def desk(event: Mapping[str, Any], call: CallControl) -> str:
        if event["text"] == "bye":
            await call.hangup()
            return "Goodbye."
        return f"You said {event['text']}."

    screen = await typed(
        agent(llm=None),
        "hello",
        "bye",
        "nobody hears this",
        on_message=desk,
        on_call_end=lambda event: reasons.append(event["reason"]),
    )
    assert "Agent: You said hello.\n" in screen
    assert "Agent: Goodbye.\n" in screen
    assert "nobody hears" not in screen
    assert reasons == ["agent_hangup"]


@pytest.mark.parametrize(
    ("line", "shown", "reason"),
    [
        ("/quit", "", "caller_hangup"),
        ("/hangup", "[the call is over: agent_hangup]", "agent_hangup"),
        ("/transfer +15550009999", "[transfer: transferring]", "transferred"),
        ("/transfer Ada", "E.164", "caller_hangup"),
        ("/dance", "there is no /dance; there are /quit", "caller_hangup"),
    ],
)
@in_virtual_time
async def test_commands(line: str, shown: str, reason: str) -> None:
    reasons: list[str] = []
    screen = await typed(agent(), line, on_call_end=lambda event: reasons.append(event["reason"]))
    assert shown in screen
    assert reasons == [reason]


@in_virtual_time
async def test_what_on_call_start_changes_holds_and_stays_in_text() -> None:
    other = agent("Other.", first_message="I am {name}.")
    screen = await typed(
        agent(), "hello", on_call_start=lambda _: {"agent": other, "variables": {"name": "Eve"}}
    )
    assert "Agent: Other.\n" in screen


@in_virtual_time
async def test_what_a_terminal_would_obey_is_not_shown() -> None:
    screen = await typed(agent("Red \x1b[31malert\x07."), "hello")
    assert "\x1b" not in screen
    assert "\x07" not in screen


async def test_without_anybody_to_write_replies_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        await Patter().test(agent(llm=None))
    with pytest.raises(ValueError, match="exclude each other"):
        await Patter().test(agent(), on_message=lambda event: "x")
    with pytest.raises(TypeError, match="agent"):
        await Patter().test("Eve")  # type: ignore[arg-type]  # what is tested
