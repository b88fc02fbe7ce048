"""Guardrails on what an engine says: its transcript is judged while it is made (CV-36).

Terms are looked for with every whole word; a check of the program's own gets each sentence once it is complete.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from getpatter.core import messages as m
from getpatter.core.guardrails import GuardRule, check_terms, screen
from getpatter.runtime.wording import CHECK_WITHIN, settle
from getpatter.tools import Guardrail
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

_SENTENCE: Final = re.compile(r".*?(?:[.!?…]+[\"'”»)]*\s+|[。！？]|\n)", re.DOTALL)
REMEMBERED: Final = 16


@dataclass(slots=True)
class _Judged:
    letters: int = 0
    is_hit: bool = False


class Screening:
    """Judges the replies of one call, in the order in which they are spoken."""

    def __init__(
        self,
        rules: tuple[GuardRule, ...],
        *,
        report: Callable[[m.AnyInput], None],
        spawn: Callable[..., asyncio.Task[None]],
        triggered: Callable[[str], None],
    ) -> None:
        """Judge by `rules`. `triggered` is told the name of each that was hit, never the text."""
        self._rules = rules
        self._has_checks = any(rule.guardrail.check is not None for rule in rules)
        self._report = report
        self._spawn = spawn
        self._triggered = triggered
        self._judged: dict[str, _Judged] = {}
        self._waiting: asyncio.Queue[m.Screen] | None = None

    def screen(self, words: m.Screen) -> None:
        """Judge more words of an item; `Screened` follows, at once where there are only terms."""
        if self._has_checks:
            if self._waiting is None:
                self._waiting = asyncio.Queue()
                self._spawn(self._judge_all(self._waiting), name="guardrails")
            self._waiting.put_nowait(words)
        judged = self._of(words.item)
        if judged.is_hit:
            return
        hit = check_terms(self._rules, words.text)
        if hit is not None:
            self._hit(words.item, hit)
        elif not self._has_checks:
            self._report(m.Screened(words.item, len(words.text)))

    def _of(self, item: str) -> _Judged:
        judged = self._judged.get(item)
        if judged is None:
            judged = self._judged[item] = _Judged()
            while len(self._judged) > REMEMBERED:
                del self._judged[next(iter(self._judged))]
        return judged

    def _hit(self, item: str, guardrail: Guardrail) -> None:
        judged = self._of(item)
        judged.is_hit = True
        self._triggered(guardrail.name)
        self._report(m.Screened(item, judged.letters, guardrail.replacement))

    async def _judge_all(self, waiting: asyncio.Queue[m.Screen]) -> None:
        while True:
            words = await waiting.get()
            judged = self._of(words.item)
            while not judged.is_hit and (sentence := _next(words, judged.letters)):
                hit = await self._verdict(sentence)
                if hit is not None and not self._of(words.item).is_hit:
                    self._hit(words.item, hit)
                    break
                judged.letters += len(sentence)
                self._report(m.Screened(words.item, judged.letters))

    async def _verdict(self, sentence: str) -> Guardrail | None:
        asking = screen(self._rules, sentence)
        try:
            check = next(asking)
            while True:
                check = asking.send(await self._blocks(check, sentence))
        except StopIteration as verdict:
            found: Guardrail | None = verdict.value
            return found

    async def _blocks(self, check: Callable[[str], object], text: str) -> bool:
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                return bool(await settle(check(text.strip())))
        except Exception as error:
            logger.warning(
                "guardrail.check_failed error=%s",
                type(error).__name__,
                exc_info=without_text(error),
            )
            return True


def _next(words: m.Screen, begin: int) -> str:
    """The next sentence from `begin` on; empty while it is not complete."""
    found = _SENTENCE.match(words.text, begin)
    if found is not None:
        return found.group()
    return words.text[begin:] if words.is_whole else ""
