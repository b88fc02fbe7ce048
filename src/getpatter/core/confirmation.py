"""Is a voice over the agent an interruption? Where the agent's manners leave that to words, this weighs them.

There are three ways to take the floor from an agent that speaks:

| pauses | asks | a voice that lasts | words |
|---|---|---|---|
| no | no | cuts the reply | count by their length, where the detector heard nothing |
| no | yes | changes nothing | cut it when a strategy of the program agrees |
| yes | no | stops the sound | cut it: any word does |
| yes | yes | stops the sound | cut it when a strategy agrees |

A line that cries wolf is a noisy line: after `MOST_HOLDS` stops without a word, a reply is not stopped again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.turns import Floor, Turn
from getpatter.types import Instant

MOST_HOLDS: Final = 3
_SPEAKS: Final = frozenset({Floor.AGENT, Floor.OVERLAP})


@dataclass(slots=True)
class Confirmation:
    """What is known of the voice over the present reply."""

    manners: Manners
    held_at: Instant | None = None
    """Since when the agent holds its sound back."""
    _holds: int = 0
    _before: str = ""
    """Words that were there before the voice began."""

    @property
    def is_by_words(self) -> bool:
        """Whether it takes words to interrupt the agent."""
        manners = self.manners
        return manners.barge_in_threshold_ms > 0 and (
            manners.barge_in_pauses or manners.barge_in_asks
        )

    def new_reply(self) -> None:
        """Another reply begins, or none is left."""
        self.held_at = None
        self._holds = 0

    def voice_began(self, text: str) -> None:
        """The caller begins to speak; `text` is what was said before and is not answered yet."""
        self._before = text

    def sustained(self, floor: Floor) -> Turn | None:
        """What a voice that has lasted long enough does to the floor."""
        if floor not in _SPEAKS or not self.is_by_words:
            return Turn.SUSTAINED
        may_hold = self.manners.barge_in_pauses and self._holds < MOST_HOLDS
        return Turn.SUSPECTED if may_hold else None

    def held(self, now: Instant) -> None:
        """The agent holds its sound back."""
        self.held_at = now
        self._holds += 1

    def words(
        self, reply: int, floor: Floor, text: str, *, is_interim: bool, is_long: bool
    ) -> Turn | m.AskConfirmation | None:
        """What words over the agent do. `text`: all that is not answered; `is_long`: as long as an interruption."""
        if not self.is_by_words or floor not in _SPEAKS | {Floor.HELD}:
            return None
        if not self.manners.barge_in_asks:
            return Turn.CONFIRMED if is_long or floor is Floor.HELD else None
        own = text.removeprefix(self._before).strip()
        return m.AskConfirmation(reply, own, is_interim, agent_speaking=floor is not Floor.HELD)
