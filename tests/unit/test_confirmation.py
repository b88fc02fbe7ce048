"""An agent that holds its sound for a voice: it goes on where it stopped, or yields to words."""

from __future__ import annotations

import pytest

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.turns import Floor
from getpatter.types import Instant
from tests.support.conversation import Conversation, opened

GREETING = "Good morning, this is the bakery at the corner. What may I do for you today?"
PAUSES = Manners(barge_in_pauses=True, barge_in_confirm_within=1.5)
ASKS = Manners(barge_in_asks=True)


def heard(call: Conversation) -> float:
    return call.session.playout.heard_ms(Instant(call.now))


def is_held(call: Conversation) -> bool:
    return call.floor is Floor.HELD


def test_a_noise_stops_the_sound_and_it_goes_on_from_there() -> None:
    call = opened(PAUSES, greeting=GREETING)
    call.sounds(1.0, 0.6)
    call.run(2.0)
    assert is_held(call)
    (cleared_at,) = call.times(m.SendClear)
    stopped = heard(call)
    call.run(2.7)
    assert heard(call) == stopped, "nothing is heard while it is held"
    call.run(20)
    assert call.floor is Floor.OPEN
    resumed = next(at for at in call.times(m.SendAudio) if at > cleared_at)
    assert resumed == pytest.approx(cleared_at + 1.5, abs=0.01)
    assert call.lines == [("assistant", GREETING)]
    (turn,) = call.turns
    assert not turn.is_interrupted
    assert not call.all(m.ReportInterruption)
    assert not call.all(m.CancelReply)


def test_every_sample_is_heard_once() -> None:
    call = opened(PAUSES)
    said = bytes(range(1, 251)) * 160  # 5 s in which each 250 ms can be told apart
    call.is_writing = False
    call.tell(m.SayAsked("A long sentence."))
    call.tell(m.PieceVoiced(1, said))
    call.tell(m.PieceDone(1))
    ears = bytearray()
    plays_until, clears = 0.0, 0
    call.sounds(1.0, 0.5)
    call.run(12)
    # What the carrier plays: everything sent, less what each `clear` took from it.
    stopped = 0
    for at, command in call.commands:
        match command:
            case m.SendAudio(data=data):
                plays_until = max(plays_until, at) + len(data) / 8000
                ears += data
            case m.SendClear():
                clears += 1
                del ears[len(ears) - round(max(0.0, plays_until - at) * 8000) :]
                plays_until, stopped = at, len(ears)
            case _:
                pass
    assert clears == 1
    assert 4000 < stopped < 20_000
    assert bytes(ears[:stopped]) == said[:stopped]
    rest = bytes(ears[stopped:])
    # The ear's position is known to a sample.
    assert any(rest == said[stopped + off :] for off in (-1, 0, 1))


def test_words_confirm_and_history_ends_where_the_sound_stopped() -> None:
    call = opened(PAUSES, greeting=GREETING)
    call.sounds(1.0, 0.8)
    call.run(1.6)
    assert is_held(call)
    ear = heard(call)
    call.at(2.2, m.Transcribed("I want to cancel", is_final=True))
    call.run(20)
    first = call.lines[0]
    assert GREETING.startswith(first[1])
    assert 0 < len(first[1]) * 65 <= ear
    assert call.lines[1] == ("user", "I want to cancel")
    assert call.lines[2][0] == "assistant"
    (interruption,) = (c for c in call.all(m.ReportInterruption))
    assert isinstance(interruption, m.ReportInterruption)
    assert interruption.heard_text == first[1]
    assert interruption.bargein_ms < 350, "until the sound stopped, not until it was confirmed"


def test_a_confirmation_that_comes_late_still_interrupts() -> None:
    call = opened(PAUSES, greeting=GREETING)
    call.sounds(1.0, 0.8)
    call.at(3.2, m.Transcribed("No, stop please", is_final=True))
    call.run(3.1)
    assert call.floor in {Floor.AGENT, Floor.OVERLAP}
    call.run(3.3)
    assert call.turns[0].is_interrupted


def test_a_line_that_cries_wolf_is_not_believed_for_ever() -> None:
    long = " ".join([GREETING] * 5)
    call = opened(PAUSES, greeting=long)
    for second in range(1, 60, 2):
        call.sounds(float(second), 0.6)
    call.run(90)
    assert len(call.all(m.SendClear)) == 3
    assert call.lines == [("assistant", long)]


def test_a_detector_of_the_users_own_holds_the_agent_once_for_one_voice() -> None:
    call = opened(PAUSES, greeting=GREETING)
    call.at(1.0, m.VoiceStarted())
    call.at(6.0, m.VoiceStopped())
    call.run(20)
    assert len(call.all(m.SendClear)) == 1
    assert call.lines == [("assistant", GREETING)]


def test_a_goodbye_that_is_held_is_said_when_the_call_closes() -> None:
    call = opened(PAUSES, greeting=GREETING)
    call.sounds(1.0, 0.5)
    call.run(1.5)
    assert is_held(call)
    call.tell(m.CloseAsked())
    call.run(20)
    assert call.lines == [("assistant", GREETING)]
    assert call.floor is Floor.CLOSED


def test_nothing_is_left_to_hold_back() -> None:
    call = opened(PAUSES)
    call.is_writing = False
    call.tell(m.SayAsked("Yes."))
    call.tell(m.PieceVoiced(1, b"\x7f" * 8000))
    call.sounds(0.2, 1.2)
    call.run(0.6)
    assert is_held(call)
    call.run(3)
    call.tell(m.PieceDone(1))
    call.run(10)
    assert call.floor is Floor.OPEN
    assert call.lines == [("assistant", "Yes.")]


def test_a_key_over_a_held_agent_takes_the_floor() -> None:
    call = opened(PAUSES, greeting=GREETING)
    call.sounds(1.0, 0.5)
    call.at(1.6, m.KeyPressed("1"))
    call.run(1.7)
    assert not is_held(call)
    call.run(20)
    assert ("user", "[DTMF: 1]") in call.lines


def test_interruption_that_is_off_stays_off() -> None:
    call = opened(
        Manners(barge_in_threshold_ms=0, barge_in_pauses=True, barge_in_asks=True),
        greeting=GREETING,
    )
    call.says(1.0, "I want to cancel my order", lasts=2.0)
    call.run(20)
    assert not call.all(m.SendClear)
    assert not call.all(m.AskConfirmation)
    assert call.lines[0] == ("assistant", GREETING)
    assert call.lines[1] == ("user", "I want to cancel my order")


# ---------------------------------------------------------------------------------------- strategies


def test_strategies_are_asked_of_every_word_and_the_agent_speaks_meanwhile() -> None:
    call = opened(ASKS, greeting=GREETING)
    call.says(1.0, "Hold on", lasts=1.0)
    call.run(2.5)
    assert call.floor is Floor.AGENT
    assert not call.all(m.SendClear)
    asked = [c for c in call.all(m.AskConfirmation) if isinstance(c, m.AskConfirmation)]
    assert [(c.text, c.is_interim, c.agent_speaking) for c in asked] == [
        ("Hold", True, True),
        ("Hold on", False, True),
    ]
    call.tell(m.InterruptionConfirmed(asked[-1].reply))
    assert call.all(m.SendClear)
    call.run(20)
    assert call.turns[0].is_interrupted
    assert ("user", "Hold on") in call.lines


def test_only_the_words_of_this_voice_are_weighed() -> None:
    call = opened(ASKS, greeting=" ".join([GREETING] * 2))
    call.says(1.0, "mm-hm", lasts=0.5)
    call.says(4.0, "okay", lasts=0.5)
    call.run(6.0)
    asked = [c.text for c in call.all(m.AskConfirmation) if isinstance(c, m.AskConfirmation)]
    assert asked[-1] == "okay"


def test_a_confirmation_of_a_reply_that_is_over_changes_nothing() -> None:
    call = opened(ASKS, greeting=GREETING)
    call.run(20)
    call.tell(m.InterruptionConfirmed(1))
    assert call.floor is Floor.OPEN
    assert not call.turns[0].is_interrupted
