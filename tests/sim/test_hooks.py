"""Hooks around the model, in whole calls."""

from __future__ import annotations

from typing import Any

import pytest

from getpatter.agent import PipelineHooks, build_agent
from getpatter.errors import PatterDeprecationWarning
from getpatter.models import HookContext
from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Tool
from tests.support.models import ActingLLM, in_turn, wants


async def talk(hooks: PipelineHooks, *answers: Any, **options: Any) -> tuple[list[str], ActingLLM]:
    llm = ActingLLM(in_turn(*answers))
    made = build_agent(
        "Be brief.", None, stt=ScriptedSTT(["hi"]), tts=ScriptedTTS(), llm=llm, hooks=hooks, **options
    )  # fmt: skip
    async with Simulation(made) as phone:
        call = await phone.talk(Polite("hi", voice=babble))
    return [text for role, text in phone.transcript(call.sid) if role == "assistant"], llm


@in_virtual_time
async def test_before_llm_sees_and_changes_what_the_model_is_sent() -> None:
    seen: list[tuple[int, str]] = []

    async def before(messages: list[dict[str, Any]], ctx: HookContext) -> list[dict[str, Any]]:
        seen.append((len(messages), ctx.caller))
        return [*messages, {"role": "system", "content": "In rhyme."}]

    _, llm = await talk(PipelineHooks(before_llm=before), ["Yes."], first_message="Hello.")
    assert seen == [(3, "+15550009876")]
    assert llm.requests[0].messages[-1]["content"] == "In rhyme."
    system = llm.requests[0].messages[0]["content"]
    assert "telephone" in system
    assert system.endswith("Be brief.")


@pytest.mark.parametrize("broken", [lambda messages, ctx: None, lambda messages, ctx: 5, lambda: 0])
@in_virtual_time
async def test_a_before_llm_that_gives_nothing_or_fails_changes_nothing(broken: Any) -> None:
    said, llm = await talk(PipelineHooks(before_llm=broken), ["Yes."], first_message="Hello.")
    assert said == ["Hello.", "Yes."]
    assert len(llm.requests[0].messages) == 3


@in_virtual_time
async def test_on_chunk_changes_pieces_and_on_response_the_whole_held_reply() -> None:
    wholes: list[str] = []

    class After:
        """Both at once."""

        def on_chunk(self, chunk: str) -> str:
            return chunk.replace("cat", "dog")

        async def on_response(self, text: str, ctx: HookContext) -> str:
            wholes.append(text)
            return text.upper()

    async def look(args: Any, ctx: Any) -> str:
        return "found"

    said, _ = await talk(
        PipelineHooks(after_llm=After()),
        ["A cat? ", wants("look")],
        ["One", " cat."],
        first_message="Hello.",
        tools=[Tool("look", handler=look)],
    )
    assert wholes == ["A dog? One dog."]
    assert said == ["Hello.", "A DOG? ONE DOG."]


@in_virtual_time
async def test_a_bare_function_is_on_response_and_says_so() -> None:
    with pytest.warns(PatterDeprecationWarning, match="on_response"):
        said, _ = await talk(
            PipelineHooks(after_llm=lambda text, ctx: f"{text} Really."),
            ["Yes."],
            first_message="Hello.",
        )
    assert said == ["Hello.", "Yes. Really."]


@in_virtual_time
async def test_hooks_that_raise_let_the_words_pass() -> None:
    def broken(*_: object) -> str:
        raise ValueError("in a hook")

    hooks = PipelineHooks(after_llm={"on_chunk": broken, "on_response": broken})
    said, _ = await talk(hooks, ["Yes."], first_message="Hello.")
    assert said == ["Hello.", "Yes."]
