"""The table of turns: total, without dead ends, and each waiting state has its alarm."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from getpatter.core.turns import IGNORED, TABLE, WAITING, Act, Floor, Turn, TurnTable
from getpatter.types import Instant
from scripts.draw_turns import drawing, table

EXPLANATION = Path(__file__).parents[2] / "docs" / "explanation"


def at(floor: Floor, now: float = 5.0) -> TurnTable:
    """A table that has just come to `floor`."""
    turns = TurnTable(8.0, 10.0, floor=floor)
    turns.deadline = Instant(now) if floor in WAITING else None
    return turns


def test_every_pair_is_decided_in_one_way_only() -> None:
    for floor, event in itertools.product(Floor, Turn):
        assert ((floor, event) in TABLE) != (event in IGNORED[floor]), (floor, event)


def test_waiting_states_have_an_alarm_and_no_others() -> None:
    for floor in Floor:
        assert ((floor, Turn.ALARM) in TABLE) == (floor in WAITING), floor
    for (floor, event), (to, _) in TABLE.items():
        turns = at(floor)
        turns.handle(event, Instant(6.0))
        assert turns.floor is to
        assert (turns.deadline is not None) == (to in WAITING), (floor, event)


def test_closed_is_final() -> None:
    assert all(to is Floor.CLOSED for (floor, _), (to, _) in TABLE.items() if floor is Floor.CLOSED)


@pytest.mark.parametrize("floor", [floor for floor in Floor if floor is not Floor.CLOSED])
def test_every_state_can_be_left_for_good(floor: Floor) -> None:
    assert TABLE[floor, Turn.GONE][0] is Floor.CLOSED
    assert (
        floor in {Floor.CLOSING, Floor.AWAY} or TABLE[floor, Turn.CLOSE_ASKED][0] is Floor.CLOSING
    )


def test_every_state_is_reached() -> None:
    reached, edge = {Floor.OPENING}, [Floor.OPENING]
    while edge:
        leaving = edge.pop()
        for (floor, _), (to, _) in TABLE.items():
            if floor is leaving and to not in reached:
                reached.add(to)
                edge.append(to)
    assert reached == set(Floor)


def test_a_call_that_ends_is_always_reported() -> None:
    for floor in Floor:
        assert Act.REPORT_END in TABLE[floor, Turn.GONE][1]
    for (_, event), (to, acts) in TABLE.items():
        if to is Floor.CLOSED and event is not Turn.GONE:
            assert Act.HANG_UP in acts


def test_complete_words_are_answered_wherever_they_are_heard() -> None:
    for floor in Floor:
        if (cell := TABLE.get((floor, Turn.TURN_ENDED))) is not None:
            assert cell[0] is Floor.THINKING
            assert cell[1][-1] is Act.ANSWER


def test_a_voice_that_ends_is_confirmed_wherever_somebody_listens() -> None:
    for floor in set(Floor) - {Floor.SILENCED, Floor.CLOSING, Floor.AWAY, Floor.CLOSED}:
        assert TABLE[floor, Turn.CALLER_STOPPED][1] == (Act.ASK_FINAL,)


def test_a_cough_does_not_restart_the_clock_of_the_silence() -> None:
    turns = TurnTable(8.0)
    turns.handle(Turn.OPENED, Instant(0.0))
    turns.handle(Turn.TURN_ENDED, Instant(1.0))
    turns.handle(Turn.CALLER_STARTED, Instant(5.0))
    assert turns.deadline == 9.0
    turns.handle(Turn.CALLER_STOPPED, Instant(5.5))
    assert turns.deadline == 9.0
    assert turns.handle(Turn.ALARM, Instant(9.0)) == (Act.REASSURE,)
    assert turns.deadline == 17.0


def test_more_words_restart_the_clock_of_the_silence() -> None:
    turns = at(Floor.THINKING)
    assert turns.handle(Turn.TURN_ENDED, Instant(7.0)) == (Act.CUT, Act.ANSWER)
    assert turns.deadline == 15.0


def test_an_ignored_event_changes_nothing() -> None:
    turns = at(Floor.AGENT)
    assert turns.handle(Turn.TURN_ENDED, Instant(9.0)) == ()
    assert turns.floor is Floor.AGENT
    assert turns.since == 0.0


def test_the_last_words_have_a_bound() -> None:
    turns = at(Floor.AGENT)
    turns.handle(Turn.CLOSE_ASKED, Instant(20.0))
    assert turns.deadline == 30.0
    assert turns.handle(Turn.ALARM, Instant(30.0)) == (Act.CUT, Act.HANG_UP)
    assert turns.deadline is None


def test_the_drawing_is_that_of_the_table() -> None:
    assert (EXPLANATION / "turns.svg").read_text(encoding="utf-8") == drawing()
    assert table() in (EXPLANATION / "turns.md").read_text(encoding="utf-8")
