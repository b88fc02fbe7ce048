"""Asks the program's strategies whether words over the agent are an interruption."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, cast

from getpatter.core import messages as m
from getpatter.runtime.services import of_its_own
from getpatter.runtime.wording import settle
from getpatter.tracebacks import without_text
from getpatter.turn_taking import BargeInStrategy

logger = logging.getLogger(__name__)

ANSWERS_WITHIN: Final = 1.0


class Confirming:
    """The strategies of one call, asked in order; the first that agrees confirms."""

    def __init__(
        self,
        strategies: Sequence[object],
        *,
        report: Callable[[m.AnyInput], None],
        spawn: Callable[..., asyncio.Task[None]],
    ) -> None:
        """Ask copies of `strategies`, where they have `clone()`."""
        self._strategies = [cast("BargeInStrategy", of_its_own(each)[0]) for each in strategies]
        self._report = report
        self._spawn = spawn

    def ask(self, command: m.AskConfirmation) -> None:
        """Find out, beside everything else."""
        self._spawn(self._evaluate(command), name=f"confirm-{command.reply}")

    async def _evaluate(self, command: m.AskConfirmation) -> None:
        for strategy in self._strategies:
            if await self._agrees(strategy, command):
                self._report(m.InterruptionConfirmed(command.reply))
                return

    async def _agrees(self, strategy: BargeInStrategy, command: m.AskConfirmation) -> bool:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                answer: object = await settle(
                    strategy.evaluate(
                        transcript=command.text,
                        is_interim=command.is_interim,
                        agent_speaking=command.agent_speaking,
                    )
                )
        except Exception as error:  # noqa: BLE001 - the user's code: a caller must be able to stop an agent
            _warn(strategy, error)
            return True
        return bool(answer)

    def turn_over(self) -> None:
        """An agent turn has ended."""
        if self._strategies:
            self._spawn(self._reset(), name="confirm-reset")

    async def _reset(self) -> None:
        for strategy in self._strategies:
            reset = getattr(strategy, "reset", None)
            if reset is None:
                continue
            try:
                async with asyncio.timeout(ANSWERS_WITHIN):
                    await settle(reset())
            except Exception as error:  # noqa: BLE001 - the user's code
                _warn(strategy, error)


def _warn(strategy: object, error: Exception) -> None:
    logger.warning(
        "barge_in.strategy_failed kind=%s error=%s",
        type(strategy).__name__,
        type(error).__name__,
        exc_info=without_text(error),
    )
