"""What was heard of a reply."""

from __future__ import annotations

from getpatter.core.playout import Playout
from getpatter.core.reply import Piece, Reply
from getpatter.types import MULAW_8K, Instant


def reply_of(*texts: str) -> Reply:
    return Reply(1, 0, pieces=[Piece(number, text) for number, text in enumerate(texts, 1)])


def test_a_piece_belongs_to_its_reply_only() -> None:
    reply = reply_of("One.", "Two.")
    found = reply.piece(2)
    assert found is not None
    assert found.text == "Two."
    assert reply.piece(9) is None
    assert reply.text == "One. Two."


def test_a_reply_is_spoken_when_all_of_it_is_audio() -> None:
    reply = reply_of("One.")
    states = [reply.is_spoken]
    reply.is_written = True
    states.append(reply.is_spoken)
    reply.pieces[0].is_done = True
    states.append(reply.is_spoken)
    assert states == [False, False, True]


def test_a_reply_has_audio_once_some_was_sent() -> None:
    assert not reply_of("One.").has_audio
    assert Reply(1, 0, first_audio_at=Instant(1.0)).has_audio


def test_only_what_reached_the_ear_was_heard() -> None:
    reply, playout = (
        reply_of("One two three four.", "", "Never spoken.", "Nor this."),
        Playout(MULAW_8K),
    )
    reply.pieces[1].is_done = True
    playout.begin(1)
    playout.add(b"\x7f" * 3200)
    playout.finish()
    playout.pull(Instant(0.0))
    assert reply.heard(playout, Instant(0.2)) == "One two"
    playout.marked("p1", Instant(0.4))
    assert reply.heard(playout, Instant(0.5)) == "One two three four."


def test_text_whose_audio_is_still_coming_is_not_taken_for_heard() -> None:
    reply, playout = reply_of("One two three four."), Playout(MULAW_8K)
    playout.begin(1)
    playout.add(b"\x7f" * 800)
    playout.pull(Instant(0.0))
    assert reply.heard(playout, Instant(0.1)) == ""


def test_a_piece_without_a_sound_was_not_heard() -> None:
    reply, playout = reply_of("One."), Playout(MULAW_8K)
    playout.begin(1)
    playout.finish()
    assert reply.heard(playout, Instant(0.1)) == ""
