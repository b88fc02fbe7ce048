"""A turn detector holds a turn open for a while, never for ever, and never what was keyed."""

from __future__ import annotations

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.turn_hold import TurnHold
from getpatter.types import Instant
from tests.support.conversation import Conversation, opened

HOLDS = Manners(turn_held_within=1.2)


def answers(call: Conversation) -> list[tuple[float, str]]:
    return [(round(at - 100, 2), c.text) for at, c in call.commands if isinstance(c, m.StartReply)]


def asked(call: Conversation) -> list[int]:
    return [c.number for c in call.all(m.AskTurnEnd) if isinstance(c, m.AskTurnEnd)]


def spoken() -> Conversation:
    call = opened(HOLDS)
    call.says(0.0, "I would like", lasts=1.0, late=0.1)
    call.run(1.5)
    return call


def test_a_finished_turn_is_answered_at_once() -> None:
    call = spoken()
    (number,) = asked(call)
    call.later(0.05, m.TurnJudged(number, is_over=True))
    call.run(5)
    (answer,) = answers(call)
    assert answer == (1.55, "I would like")


def test_an_unfinished_turn_is_held_no_longer_than_it_may() -> None:
    call = spoken()
    (began,) = call.times(m.AskTurnEnd)
    call.later(0.05, m.TurnJudged(asked(call)[0], is_over=False))
    call.run(8)
    assert answers(call) == [(round(began + 1.2, 2), "I would like")]


def test_a_detector_that_never_answers_keeps_nobody_waiting() -> None:
    call = spoken()
    call.run(8)
    assert len(answers(call)) == 1
    assert len(asked(call)) == 1


def test_who_goes_on_is_asked_about_again_and_an_old_answer_means_nothing() -> None:
    call = spoken()
    (first,) = asked(call)
    call.later(0.02, m.TurnJudged(first, is_over=False))
    call.says(1.9, "a table for two", lasts=1.0, late=0.1)
    call.run(2.5)
    call.tell(m.TurnJudged(first, is_over=True))
    call.run(3.5)
    assert not answers(call)
    assert len(asked(call)) == 2
    call.tell(m.TurnJudged(asked(call)[-1], is_over=True))
    call.run(8)
    assert [text for _, text in answers(call)] == ["I would like a table for two"]


def test_keys_are_not_held() -> None:
    call = opened(HOLDS)
    call.at(0.5, m.KeyPressed("1"))
    call.at(0.6, m.KeyPressed("#"))
    call.run(5)
    assert answers(call) == [(0.6, "[DTMF: 1#]")]
    assert not asked(call)


def test_without_a_detector_nothing_is_held() -> None:
    hold = TurnHold(None)
    assert not hold.asks(Instant(1.0))
    assert hold.is_free(Instant(1.0))
    assert hold.due is None
