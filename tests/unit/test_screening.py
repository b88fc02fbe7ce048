"""What an engine says is judged while it is made: terms with every word, checks with every sentence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from getpatter.core import messages as m
from getpatter.core.guardrails import compiled
from getpatter.runtime.screening import Screening
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Guardrail


class Desk:
    """Takes what a screening has to say."""

    def __init__(self, *guardrails: Guardrail) -> None:
        self.told: list[m.AnyInput] = []
        self.triggered: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.screening = Screening(
            compiled(guardrails),
            report=self.told.append,
            spawn=self._spawn,
            triggered=self.triggered.append,
        )

    def _spawn(self, work: Any, *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.append(task)
        return task

    async def said(self, *texts: str, is_whole: bool = True) -> list[m.AnyInput]:
        """The verdicts on one item that grows through `texts`."""
        for number, text in enumerate(texts, 1):
            last = number == len(texts)
            self.screening.screen(m.Screen("i", text, is_whole and last))
        await asyncio.sleep(5)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.told


@in_virtual_time
async def test_good_words_pass_at_once_and_a_term_ends_the_item() -> None:
    desk = Desk(Guardrail("legal", blocked_terms=["sue"], replacement="No."))
    told = await desk.said("We will", "We will sue", "We will sue you")
    assert told == [m.Screened("i", 7), m.Screened("i", 0, "No.")]
    assert desk.triggered == ["legal"]


@in_virtual_time
async def test_a_check_gets_whole_sentences_in_their_order() -> None:
    seen: list[str] = []

    async def check(text: str) -> bool:
        seen.append(text)
        await asyncio.sleep(0.2)
        return "secret" in text

    desk = Desk(Guardrail("tact", check=check, replacement="Let us not."))
    told = await desk.said("All is ", "All is well. The ", "All is well. The secret is out.")
    assert seen == ["All is well.", "The secret is out."]
    assert told == [m.Screened("i", 13), m.Screened("i", 13, "Let us not.")]
    assert desk.triggered == ["tact"]


@pytest.mark.parametrize("kind", ["raises", "hangs"])
@in_virtual_time
async def test_a_check_that_fails_counts_as_a_hit(kind: str) -> None:
    async def check(text: str) -> bool:
        if kind == "hangs":
            await asyncio.sleep(60)
        raise RuntimeError(text)

    desk = Desk(Guardrail("broken", check=check, replacement="No."))
    assert await desk.said("All is well.") == [m.Screened("i", 0, "No.")]
