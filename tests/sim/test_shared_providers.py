"""Provider objects and the calls that use them: clones of one's own, shared ones, who closes what, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from getpatter.agent import Agent, build_agent
from getpatter.testing.callers import Caller, Program, babble, hang_up, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.types import MULAW_8K, AudioFormat

if TYPE_CHECKING:
    import pytest


@dataclass
class Book:
    """What became of an object and its clones."""

    made: int = 0
    closed: list[str] = field(default_factory=list)
    warmed: list[str] = field(default_factory=list)


class Shared:
    """A voice of the user's without `clone()`."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.closed = 0

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        self.texts.append(text)
        yield bytes(32000)

    async def close(self) -> None:
        self.closed += 1


class Cloned(ScriptedTTS):
    """A voice with `clone()`, `with_output()` and `warmup()`, which all write into one book."""

    name = "original"

    def keeping(self, book: Book, name: str) -> Self:
        self.book, self.name = book, name
        return self

    def clone(self) -> Self:
        self.book.made += 1
        return type(self)().keeping(self.book, "clone")

    def with_output(self, formats: Sequence[AudioFormat]) -> Self | None:
        return type(self)().keeping(self.book, f"{self.name} for {formats[0].encoding.value}")

    async def warmup(self) -> None:
        self.book.warmed.append(self.name)

    async def close(self) -> None:
        self.book.closed.append(self.name)


class Model(ScriptedLLM):
    """A model that notes its warming, and fails at it."""

    def __init__(self) -> None:
        super().__init__(["Hello."])
        self.warmed = 0

    async def warmup(self) -> None:
        self.warmed += 1
        raise ConnectionResetError


def agent(**parts: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT([]),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(["Hello."]),
        "first_message": "Hi.",
    } | parts
    return build_agent("Be brief.", None, **given)


def quiet(seconds: float) -> Program:
    return Caller(wait(seconds * 1000), hang_up(), voice=babble)


def shared_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "shared_by_calls" in each.getMessage()]


@in_virtual_time
async def test_a_shared_voice_speaks_for_both_and_is_closed_at_the_end_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    voice = Shared()
    async with Simulation(agent(tts=voice)) as phone:
        async with asyncio.TaskGroup() as both:
            both.create_task(phone.talk(quiet(4)))
            both.create_task(phone.talk(quiet(8)))
        assert voice.texts == ["Hi.", "Hi."]
        assert voice.closed == 0
        named = [line for line in shared_lines(caplog) if "kind=Shared" in line]
        assert len(named) == 1
    assert voice.closed == 1


@in_virtual_time
async def test_calls_after_one_another_overlap_on_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    voice = Shared()
    async with Simulation(agent(tts=voice)) as phone:
        await phone.talk(quiet(4))
        await phone.talk(quiet(4))
    assert not shared_lines(caplog)
    assert voice.closed == 1


@in_virtual_time
async def test_a_clone_is_closed_with_its_call_and_the_original_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Book()
    voice = Cloned().keeping(book, "original")
    async with Simulation(agent(tts=voice, llm=_Answers())) as phone:
        async with asyncio.TaskGroup() as both:
            both.create_task(phone.talk(quiet(4)))
            both.create_task(phone.talk(quiet(8)))
        assert book.made == 2
        assert book.closed == ["clone", "clone"]
        assert not shared_lines(caplog)
    assert book.closed[2:] == ["original"]


class _Answers(ScriptedLLM):
    def __init__(self) -> None:
        super().__init__(["Hello."])

    def clone(self) -> Self:
        return type(self)()


@in_virtual_time
async def test_voice_and_model_connect_while_the_phone_rings() -> None:
    book, model = Book(), Model()
    voice = Cloned().keeping(book, "original")
    async with Simulation(agent(tts=voice, llm=model)) as phone:
        await phone.talk(quiet(4))
        assert book.warmed == [f"clone for {MULAW_8K.encoding.value}"]
        assert model.warmed == 1, "a failure of it is no failure of the call"


@in_virtual_time
async def test_nobody_connects_early_where_that_is_not_wanted() -> None:
    book, model = Book(), Model()
    voice = Cloned().keeping(book, "original")
    async with Simulation(agent(tts=voice, llm=model, prewarm=False)) as phone:
        await phone.talk(quiet(4))
    assert (book.warmed, model.warmed) == ([], 0)


@in_virtual_time
async def test_one_that_does_not_close_keeps_nobody() -> None:
    class Stuck(Shared):
        async def close(self) -> None:
            await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    phone = Simulation(agent(tts=Stuck()))
    async with phone:
        await phone.talk(quiet(4))
        began = loop.time()
    assert loop.time() - began < 5
