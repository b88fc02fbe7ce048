"""Hooks of a pipeline, in whole calls and one by one."""

from __future__ import annotations

from typing import Any

import pytest

from getpatter.agent import PipelineHooks, build_agent
from getpatter.errors import PatterDeprecationWarning
from getpatter.models import HookContext
from getpatter.runtime.hooks import PipelineHookExecutor
from getpatter.testing.callers import Caller, Polite, babble, hang_up, listen, say, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail, Tool
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


# ------------------------------------------------------------------------------------- one by one


CONTEXT = HookContext(call_id="CA1")
VALUES: dict[str, Any] = {
    "before_send_to_stt": b"\1\2",
    "after_transcribe": "words",
    "before_llm": [{"role": "user", "content": "words"}],
    "on_sentence": "A sentence.",
    "on_response": "A reply.",
    "before_synthesize": "A sentence.",
    "after_synthesize": b"\1\2",
}
NONE_DROPS = {"before_send_to_stt", "after_transcribe", "before_synthesize", "after_synthesize"}


def with_hook(name: str, hook: Any) -> PipelineHookExecutor:
    if name.startswith("on_"):
        return PipelineHookExecutor(PipelineHooks(after_llm={name: hook}))
    return PipelineHookExecutor(PipelineHooks(**{name: hook}))


async def run(executor: PipelineHookExecutor, name: str) -> Any:
    value = VALUES[name]
    more = ("A sentence.",) if name == "after_synthesize" else ()
    return await getattr(executor, name)(value, *more, CONTEXT)


@pytest.mark.parametrize("name", VALUES)
@in_virtual_time
async def test_what_a_hook_gives_goes_on_and_none_means_what_is_documented(name: str) -> None:
    value = VALUES[name]
    assert await run(PipelineHookExecutor(None), name) == value
    assert await run(PipelineHookExecutor(PipelineHooks()), name) == value
    seen: list[Any] = []

    async def changes(given: Any, *more: Any) -> Any:
        seen.append((given, more[-1]))
        return given + given

    assert await run(with_hook(name, changes), name) == value + value
    assert await run(with_hook(name, lambda given, *_more: given + given), name) == value + value
    assert seen == [(value, CONTEXT)]
    nothing = await run(with_hook(name, lambda *_given: None), name)
    assert nothing == (None if name in NONE_DROPS else value)

    def fails(*_given: Any) -> Any:
        raise RuntimeError

    assert await run(with_hook(name, fails), name) == value


def test_on_chunk_is_run_at_once() -> None:
    assert with_hook("on_chunk", str.upper).on_chunk("word") == "WORD"
    assert with_hook("on_chunk", lambda _chunk: None).on_chunk("word") == "word"
    assert with_hook("on_chunk", lambda chunk: 1 / len(chunk[9:])).on_chunk("word") == "word"
    assert PipelineHookExecutor(None).on_chunk("word") == "word"


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("before_stt", "before_send_to_stt"),
        ("after_stt", "after_transcribe"),
        ("before_tts", "before_synthesize"),
        ("after_tts", "after_synthesize"),
    ],
)
@in_virtual_time
async def test_other_names_of_hooks(other: str, name: str) -> None:
    executor = PipelineHookExecutor(PipelineHooks(**{other: lambda given, *_more: given + given}))
    assert await run(executor, name) == VALUES[name] + VALUES[name]


@in_virtual_time
async def test_stages_run_in_the_documented_order() -> None:
    order: list[str] = []

    def note(name: str) -> Any:
        def hook(value: Any, *_more: Any) -> Any:
            if name not in order:
                order.append(name)
            return value

        return hook

    def transform(text: str) -> str:
        return str(note("text_transforms")(text))

    rule = Guardrail(name="rule", check=lambda text: bool(note("guardrails")(text) and False))
    hooks = PipelineHooks(
        before_send_to_stt=note("before_send_to_stt"),
        after_transcribe=note("after_transcribe"),
        before_llm=note("before_llm"),
        after_llm={"on_chunk": note("on_chunk"), "on_sentence": note("on_sentence")},
        before_synthesize=note("before_synthesize"),
        after_synthesize=note("after_synthesize"),
    )
    made = build_agent(
        "You are a desk.",
        None,
        stt=ScriptedSTT(["hello"]),
        tts=ScriptedTTS(),
        llm=ScriptedLLM(["Certainly."]),
        hooks=hooks,
        guardrails=[rule],
        text_transforms=[transform],
    )
    async with Simulation(made) as phone:
        first = Caller(wait(300), say("hello"), listen(), hang_up(), voice=babble)
        await phone.talk(first)
    assert order == [
        "before_send_to_stt",
        "after_transcribe",
        "before_llm",
        "on_chunk",
        "on_sentence",
        "guardrails",
        "text_transforms",
        "before_synthesize",
        "after_synthesize",
    ]
