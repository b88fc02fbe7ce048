"""Whenever the caller breaks in: nothing is done twice, and nothing is done that nobody is told of."""

from __future__ import annotations

import pytest

from benchmarks._interruptions import Mishap, measured
from getpatter.tools import Effect


@pytest.mark.parametrize("mishap", ["none", "raises", "too slow"])
@pytest.mark.parametrize("effect", ["write", "irreversible"])
def test_nothing_is_done_twice_and_nothing_is_lost(effect: Effect, mishap: Mishap) -> None:
    tally = measured(7, 200, effect, mishap)
    assert tally.interruptions >= 200
    assert tally.while_running > 20  # or chance has not tried what this is about
    assert tally.done > 40
    assert (tally.twice, tally.lost) == (0, 0)
