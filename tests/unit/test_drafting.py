"""When a draft is begun, and when it is of no use any more."""

from __future__ import annotations

from getpatter.core import messages as m
from getpatter.core.drafting import MOST_DRAFTS, Drafting, same_words
from getpatter.core.manners import Manners
from getpatter.types import Instant
from tests.support.conversation import Conversation, opened

DRAFTS = Manners(draft_after=0.3)


def commands(call: Conversation) -> list[str]:
    return [type(c).__name__ for _, c in call.commands if isinstance(c, m.StartDraft | m.DropDraft)]


def test_words_that_stand_still_are_answered_in_a_draft() -> None:
    call = opened(DRAFTS)
    call.sounds(0.0, 1.5)
    call.at(0.5, m.Transcribed("a table", is_final=False))
    call.at(0.7, m.Transcribed("a table for two", is_final=False))
    call.at(0.8, m.Transcribed("a table for two", is_final=False))
    call.at(1.9, m.Transcribed("A table for two.", is_final=True))
    call.run(1.6)
    (draft,) = call.all(m.StartDraft)
    assert draft == m.StartDraft("a table for two")
    assert call.times(m.StartDraft) == [1.0], "0.3 s after they last changed"
    call.run(5)
    assert commands(call) == ["StartDraft"], "the final says the same words"
    assert [c.text for c in call.all(m.StartReply) if isinstance(c, m.StartReply)] == [
        "A table for two."
    ]


def test_other_words_make_the_draft_useless() -> None:
    call = opened(DRAFTS)
    call.sounds(0.0, 2.0)
    call.at(0.5, m.Transcribed("a table", is_final=False))
    call.at(1.2, m.Transcribed("a table for two", is_final=False))
    call.run(1.9)
    assert commands(call) == ["StartDraft", "DropDraft", "StartDraft"]


def test_a_turn_has_few_drafts_and_the_next_one_as_many() -> None:
    drafting = Drafting(0.3)
    for number in range(6):
        drafting.heard(f"word {number}", Instant(number))
        if drafting.due is not None:
            drafting.begin()
    assert not drafting.due
    assert not Drafting(None).due
    drafting.over()
    for number in range(MOST_DRAFTS):
        drafting.heard(f"other {number}", Instant(10 + number))
        assert drafting.due == 10 + number + 0.3
        drafting.begin()


def test_nothing_is_drafted_while_the_agent_speaks_or_without_the_setting() -> None:
    call = opened(DRAFTS, greeting="Good morning, this is the bakery at the corner.")
    call.at(0.5, m.Transcribed("hm", is_final=False))
    call.run(1.5)
    plain = opened()
    plain.says(0.0, "a table for two", lasts=2.0)
    plain.run(5)
    assert not commands(call)
    assert not commands(plain)


def test_a_sound_that_was_nothing_leaves_no_draft() -> None:
    call = opened(DRAFTS)
    call.sounds(0.0, 0.6)
    call.at(0.3, m.Transcribed("ta", is_final=False))
    call.at(1.2, m.Transcribed("", is_final=False))
    call.run(8)
    assert commands(call) == ["StartDraft", "DropDraft"]


def test_capitals_and_punctuation_are_not_words() -> None:
    assert same_words("hello there", "Hello, there!")
    assert not same_words("hello there", "hello")
    assert not same_words("four", "for")
