"""Turns are told in the order in which they were spoken, however late their words are."""

from __future__ import annotations

from getpatter.core.minutes import WORDS_WITHIN, Minutes
from getpatter.types import Instant


def test_nothing_is_told_before_what_came_first() -> None:
    minutes = Minutes()
    first = minutes.user(0, Instant(1.0))
    reply = minutes.agent(0)
    reply.text, reply.is_settled = "Sure.", True
    assert minutes.ready(Instant(1.5)) == []
    assert minutes.pending == (first, reply)
    first.text, first.is_settled = "Well", True
    assert minutes.ready(Instant(1.5)) == [first, reply]
    assert minutes.ready(Instant(1.5)) == []


def test_words_that_never_come_hold_nobody_up_for_long() -> None:
    minutes = Minutes()
    turn = minutes.user(0, Instant(1.0))
    assert minutes.deadline == 1.0 + WORDS_WITHIN
    assert minutes.ready(Instant(1.0 + WORDS_WITHIN - 0.01)) == []
    assert minutes.ready(Instant(1.0 + WORDS_WITHIN)) == [turn]
    assert minutes.deadline is None


def test_a_reply_under_way_waits_without_an_alarm_and_the_end_tells_all() -> None:
    minutes = Minutes()
    reply, turn = minutes.agent(0), minutes.user(1, Instant(2.0))
    assert minutes.deadline is None
    assert minutes.ready(Instant(100.0)) == []
    assert minutes.rest() == [reply, turn]
    assert minutes.pending == ()
