"""Whole calls in virtual time: what both people would notice."""

from __future__ import annotations

import pytest

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.session import Session
from getpatter.core.turns import Floor
from getpatter.types import MULAW_8K, Instant
from tests.support.conversation import Conversation, Line, opened

GREETING = "Hello, this is the bakery on the corner. What may I bake for you this morning?"
LONG = "We have rye bread, and white bread, and rolls. We also have a cake with cherries in it."


def long_winded(manners: Manners | None = None, **line: float) -> Conversation:
    return opened(manners, Line(answers=lambda _text: LONG, **line))  # type: ignore[arg-type]


def spoken(call: Conversation) -> str:
    return " ".join(c.text for c in call.all(m.Speak) if isinstance(c, m.Speak))


def test_a_question_is_answered() -> None:
    call = opened()
    call.says(1.0, "Two rolls")
    call.run(20)
    assert call.lines == [
        ("user", "Two rolls"),
        ("assistant", "You said Two rolls, and that is noted. What else?"),
    ]
    assert call.floor is Floor.OPEN
    (turn,) = call.turns
    assert turn.speech_began is not None
    assert turn.committed_at is not None
    assert turn.first_audio_at is not None
    assert turn.speech_began < turn.committed_at < turn.first_audio_at
    assert call.all(m.AskFinal)
    assert call.all(m.ReportPartial)


def test_the_greeting_is_part_of_the_call() -> None:
    call = opened(greeting=GREETING)
    call.tell(m.Opened("Once more!"))
    call.run(15)
    assert call.lines == [("assistant", GREETING)]
    assert call.turns[0].is_greeting


def test_coughs_do_not_interrupt() -> None:
    call = opened(greeting=GREETING)
    call.sounds(1.0, 0.16)
    call.sounds(2.0, 0.16)
    call.run(15)
    assert call.lines == [("assistant", GREETING)]
    assert not call.all(m.SendClear)


def test_interrupted_history_keeps_only_what_was_heard() -> None:
    call = opened(greeting=GREETING)
    call.says(2.0, "I want a cake please", lasts=1.5)
    call.run(3.0)
    (cleared,) = call.times(m.SendClear)
    assert 2.25 < cleared < 2.35
    role, heard = call.lines[0]
    assert role == "assistant"
    assert heard
    assert GREETING.startswith(heard)
    assert len(heard) < 40
    (report,) = call.all(m.ReportInterruption)
    assert isinstance(report, m.ReportInterruption)
    assert report.heard_text == heard
    assert 250 < report.bargein_ms < 350
    call.run(20)
    assert call.lines[1] == ("user", "I want a cake please")
    assert call.turns[0].is_interrupted
    assert not call.turns[1].is_interrupted


def test_words_under_the_agent_are_answered_after_it() -> None:
    call = opened(Manners(barge_in_threshold_ms=0.0), greeting=GREETING)
    call.says(1.0, "A cake", lasts=2.0)
    call.run(20)
    assert [text for _, text in call.lines][:2] == [GREETING, "A cake"]
    assert len(call.lines) == 3


def test_words_that_only_the_recogniser_hears_interrupt() -> None:
    call = opened(greeting=GREETING)
    call.at(2.0, m.Transcribed("no not that", is_final=True, start_ms=1000.0, end_ms=1900.0))
    call.run(10)
    assert call.times(m.SendClear) == [2.0]
    assert ("user", "no not that") in call.lines


def test_one_short_word_of_the_recogniser_waits() -> None:
    call = opened(greeting=GREETING)
    call.at(2.0, m.Transcribed("no", is_final=True))
    call.run(20)
    assert not call.all(m.SendClear)
    assert ("user", "no") in call.lines


def test_noise_that_cut_a_reply_lets_it_finish() -> None:
    call = opened(greeting=GREETING)
    call.sounds(2.0, 0.6)
    call.run(25)
    assert len(call.all(m.SendClear)) == 1
    heard = " ".join(text for _, text in call.lines)
    assert heard == GREETING


def test_noise_that_never_ends_does_not_silence_the_agent() -> None:
    call = opened(greeting=GREETING)
    for tenth in range(20, 600):
        call.at(tenth / 10, m.Voiced(0.9))
    call.sounds(2.0, 50.0)
    call.run(60)
    assert " ".join(text for _, text in call.lines) == GREETING


def test_noise_while_the_agent_thinks_costs_no_answer() -> None:
    call = long_winded(writes_after=3.0)
    call.says(1.0, "Bread?")
    call.sounds(3.5, 0.6)
    call.run(30)
    assert len(call.all(m.StartReply)) == 2
    assert call.lines[-1] == ("assistant", LONG)


def test_a_reply_cut_before_its_first_audible_word_is_written_again() -> None:
    call = opened()
    call.is_writing = False
    call.at(1.0, m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.run(1.5)
    call.tell(m.ReplyText(1, "This will be filtered away, all of it. And"))
    call.tell(m.PieceWorded(1, ""))
    call.tell(m.PieceDone(1))
    call.sounds(2.0, 0.6)
    call.run(10)
    assert len(call.all(m.StartReply)) == 2


def test_a_threshold_shorter_than_a_syllable_leaves_nobody_mute() -> None:
    call = opened(Manners(barge_in_threshold_ms=40.0), greeting=GREETING)
    call.sounds(2.0, 0.064)
    call.run(25)
    assert len(call.all(m.SendClear)) == 1
    (cut,) = call.times(m.SendClear)
    resumed = min(at for at in call.times(m.SendAudio) if at > cut)
    assert 1.5 <= resumed - cut < 2.0, "there was time for words to come of it"
    assert " ".join(text for _, text in call.lines) == GREETING


def test_a_short_threshold_passed_while_the_agent_thinks_counts() -> None:
    call = long_winded(Manners(barge_in_threshold_ms=70.0), writes_after=3.0)
    call.says(1.0, "Bread?")
    call.says(3.5, "Or rather cake?")
    call.run(4.0)
    assert call.all(m.CancelReply)


def test_a_detector_of_the_users_own_interrupts_too() -> None:
    call = opened(greeting=GREETING)
    call.at(2.0, m.VoiceStarted(ago_ms=100.0))
    call.at(3.0, m.VoiceStopped())
    call.at(3.1, m.Transcribed("Wait", is_final=True))
    call.run(10)
    assert call.times(m.SendClear) == [pytest.approx(2.2)]
    assert ("user", "Wait") in call.lines


def test_a_late_final_joins_its_turn_or_begins_the_next() -> None:
    call = opened()
    call.says(1.0, "I want a cake", late=0.2)
    call.at(2.3, m.Transcribed("with cherries", is_final=True))
    call.at(2.55, m.Transcribed("and two rolls", is_final=True))
    call.run(20)
    assert [text for role, text in call.lines if role == "user"] == [
        "I want a cake with cherries",
        "and two rolls",
    ]
    assert call.lines[-1][0] == "assistant"
    assert not call.all(m.SendClear)


def test_a_late_confirmation_is_not_answered_twice() -> None:
    call = opened()
    call.sounds(1.0, 1.0)
    call.at(1.5, m.Transcribed("two rolls please", is_final=False))
    call.at(4.5, m.Transcribed("Two rolls, please.", is_final=True))
    call.run(20)
    assert [text for role, text in call.lines if role == "user"] == ["two rolls please"]
    assert not call.all(m.SendClear)


def test_yes_said_twice_is_heard_twice() -> None:
    call = opened()
    call.says(1.0, "Yes", lasts=0.4)
    call.says(12.0, "Yes", lasts=0.4)
    call.run(25)
    assert [text for role, text in call.lines if role == "user"] == ["Yes", "Yes"]


def test_goodbye_is_heard_before_the_line_drops() -> None:
    call = long_winded()
    call.says(1.0, "Bye")
    call.at(2.5, m.CloseAsked())
    call.at(2.6, m.CloseAsked())
    call.run(20)
    assert call.lines[-1] == ("assistant", LONG)
    assert call.all(m.HangUp) == [m.HangUp("agent_hangup")]
    assert call.floor is Floor.CLOSED
    assert call.session.deadline(Instant(call.now)) is None


def test_a_goodbye_that_takes_too_long_is_cut() -> None:
    call = opened(Manners(closing_bound=2.0), greeting=GREETING)
    call.at(1.0, m.CloseAsked("idle"))
    call.run(20)
    assert call.times(m.HangUp) == [pytest.approx(3.0)]


def test_a_call_that_is_asked_to_end_in_silence_ends() -> None:
    call = opened()
    call.tell(m.CloseAsked("shutdown"))
    assert call.all(m.HangUp) == [m.HangUp("shutdown")]


def test_the_end_is_told_once() -> None:
    call = opened(greeting=GREETING)
    call.run(2)
    call.tell(m.QuietAwaited(4))
    call.tell(m.StreamEnded("carrier_error"))
    assert call.commands[-2:] == [(102.0, m.SayQuiet(4)), (102.0, m.Finish("carrier_error"))]
    assert call.tell(m.StreamEnded()) == []
    assert call.tell(m.VoiceStarted()) == []


def test_a_lost_mark_does_not_stop_the_call() -> None:
    call = opened(None, Line(loses_marks=lambda _number: True), greeting=GREETING)
    call.says(12.0, "A cake")
    call.run(30)
    assert [role for role, _ in call.lines] == ["assistant", "user", "assistant"]


def test_number_of_keys_is_one_turn_and_stops_the_prompt() -> None:
    call = opened(greeting=GREETING)
    call.at(2.0, m.KeyPressed("4"))
    call.at(2.5, m.KeyPressed("2"))
    call.run(15)
    assert call.times(m.SendClear) == [2.0]
    assert call.lines[1] == ("user", "[DTMF: 42]")
    assert not call.all(m.ReportInterruption)


def test_speech_that_began_before_the_call_was_ready_is_answered() -> None:
    call = Conversation()
    call.says(0.0, "Hello?", lasts=1.0)
    call.at(0.5, m.Opened())
    call.run(10)
    assert call.lines[0] == ("user", "Hello?")
    assert call.all(m.AskFinal)


def test_a_machine_is_not_talked_to() -> None:
    call = opened(greeting=GREETING)
    call.at(1.0, m.MachineFound())
    call.says(2.0, "Leave a message")
    call.run(10)
    assert call.floor is Floor.SILENCED
    assert not call.all(m.StartReply)


def test_a_failed_reply_is_excused() -> None:
    call = opened()
    call.is_writing = False
    call.at(1.0, m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.run(1.5)
    call.is_writing = True
    call.tell(m.ReplyText(1, "We have rye"))
    call.tell(m.ReplyFailed(1))
    call.tell(m.ReplyFailed(1))
    call.run(15)
    assert call.lines[-1][1].startswith("We have rye I'm sorry")


def test_nothing_is_said_for_a_failure_without_an_apology() -> None:
    call = opened(Manners(apology=""))
    call.is_writing = False
    call.at(1.0, m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.run(1.5)
    call.tell(m.ReplyFailed(7))
    call.tell(m.ReplyFailed(1))
    assert call.floor is Floor.OPEN
    assert len(call.turns) == 1


def test_a_replaced_sentence_ends_the_reply() -> None:
    call = opened()
    call.is_writing = False
    call.at(1.0, m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.run(1.5)
    call.tell(m.ReplyText(1, "A first long sentence here. A second long sentence here. "))
    call.tell(m.PieceWorded(1, "I may not say that.", ends_reply=True))
    call.tell(m.ReplyText(1, "More of what is forbidden."))
    call.tell(m.PieceVoiced(1, b"\x7f" * 8000))
    call.tell(m.PieceDone(1))
    call.tell(m.PieceDone(1))
    call.run(10)
    assert call.lines[-1] == ("assistant", "I may not say that.")


@pytest.mark.parametrize("message", ["", "One moment please."])
def test_a_slow_reply_is_announced(message: str) -> None:
    call = long_winded(Manners(long_turn_message=message), writes_after=10.0)
    call.says(1.0, "Bread?")
    call.run(40)
    assert call.lines[-1][1] == f"{message} {LONG}".strip()


def test_what_the_program_says_waits_for_the_caller_to_finish() -> None:
    call = opened()
    call.says(1.0, "Two rolls", lasts=2.0)
    call.at(2.0, m.SayAsked("The oven is hot."))
    call.run(25)
    assert call.lines[0] == ("user", "Two rolls")
    assert call.lines[-1] == ("assistant", "The oven is hot.")


def test_what_the_program_says_joins_a_reply_or_stands_alone() -> None:
    call = opened(greeting=GREETING)
    call.at(1.0, m.SayAsked("Mind the step."))
    call.at(15.0, m.SayAsked("We close soon."))
    call.at(15.0, m.SayAsked("  "))
    call.run(25)
    assert call.lines == [
        ("assistant", GREETING + " Mind the step."),
        ("assistant", "We close soon."),
    ]


@pytest.mark.parametrize("at", [1.5, 3.05, 3.3, 8.0])
def test_a_farewell_is_said_whatever_the_caller_does(at: float) -> None:
    call = opened()
    call.says(1.0, "Two rolls", lasts=2.0)
    call.at(at, m.SayAsked("We are closing."))
    call.at(at, m.CloseAsked("provider_error"))
    call.run(40)
    assert call.lines[-1][1].endswith("We are closing.")
    assert call.session.end_reason == "provider_error"
    hung_up = call.times(m.HangUp)
    assert len(hung_up) == 1
    assert hung_up[0] > at + 0.9


def test_silence_is_asked_about_once_and_then_ends_the_call() -> None:
    call = opened(Manners(idle_timeout=5.0))
    call.run(30)
    assert call.lines == [("assistant", "Are you still there?")]
    assert call.all(m.HangUp) == [m.HangUp("idle")]


def test_a_call_has_a_longest_duration() -> None:
    call = opened(Manners(max_duration=5.0), greeting=GREETING)
    call.at(4.9, m.CloseAsked())
    call.run(20)
    assert call.all(m.HangUp) == [m.HangUp("time_limit")]
    call.tell(m.StreamEnded())
    assert call.commands[-1][1] == m.Finish("time_limit")


def test_who_waits_for_quiet_is_told() -> None:
    call = opened(greeting=GREETING)
    call.tell(m.QuietAwaited(1))
    call.run(20)
    (quiet,) = call.times(m.SayQuiet)
    (over,) = (at for at, c in call.commands if isinstance(c, m.ReportTurn))
    assert quiet == pytest.approx(over - 100.0)


def test_late_audio_of_a_cut_reply_is_not_heard() -> None:
    call = opened(greeting=GREETING)
    call.run(2)
    call.tell(m.KeyPressed("1"))
    before = len(call.all(m.SendAudio))
    call.tell(m.PieceVoiced(1, b"\x7f" * 8000))
    call.tell(m.PieceVoiced(2, b"\x7f" * 8000))
    assert len(call.all(m.SendAudio)) == before
    assert call.session.history.lines[0].is_interrupted


def test_a_stranger_of_an_input_is_no_reason_to_speak() -> None:
    session = Session(MULAW_8K, Manners(), began_at=Instant(0.0))
    assert session.handle(m.MarkCame("never sent"), Instant(0.0)) == []
    assert session.handle(m.VoiceStopped(), Instant(0.1))


def test_an_end_in_silence_cuts_nothing() -> None:
    call = opened()
    call.tell(m.KeyPressed("1"))
    call.tell(m.StreamEnded())
    assert not call.all(m.CancelReply)


def test_a_reply_cut_at_its_very_last_sound_has_nothing_left_to_say() -> None:
    call = opened(None, Line(0.0, lambda number: number > 1), greeting="Good morning.")
    call.sounds(1.0, 0.6)
    call.run(20)
    assert call.lines == [("assistant", "Good morning.")]
    assert len(call.all(m.SendClear)) == 1


def test_an_interruption_without_a_voice_has_no_length() -> None:
    call = opened(greeting=GREETING)
    call.at(2.0, m.Transcribed("no not that", is_final=False))
    call.run(3)
    (report,) = call.all(m.ReportInterruption)
    assert isinstance(report, m.ReportInterruption)
    assert report.bargein_ms == 0.0


def test_a_failure_in_the_middle_of_a_sentence_keeps_what_was_written() -> None:
    call = opened()
    call.is_writing = False
    call.at(1.0, m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.run(1.5)
    call.tell(m.ReplyText(1, "We have rye"))
    call.tell(m.ReplyFailed(1))
    spoken_texts = [c.text for c in call.all(m.Speak) if isinstance(c, m.Speak)]
    assert spoken_texts[0].startswith("We have rye")


def test_sound_that_comes_in_crumbs_is_one_piece() -> None:
    call = opened(greeting=GREETING)
    call.is_writing = False
    call.run(0.05)
    call.tell(m.PieceVoiced(1, b"\x7f" * 160))
    call.tell(m.PieceVoiced(1, b"\x7f" * 160))
    assert [span.piece for span in call.session.playout.spans] == [1]


def test_a_pause_of_the_recogniser_is_no_word() -> None:
    call = opened()
    call.tell(m.Transcribed("", is_final=False))
    assert not call.all(m.ReportPartial)


def test_late_text_of_a_cut_reply_is_not_said() -> None:
    call = opened()
    call.is_writing = False
    call.tell(m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.tell(m.Transcribed("No, cake.", is_final=True, speech_final=True))
    call.tell(m.ReplyText(1, "We have rye bread, and white bread. "))
    call.tell(m.ReplyWritten(1))
    assert call.all(m.CancelReply) == [m.CancelReply(1)]
    assert not call.all(m.Speak)
    assert call.floor is Floor.THINKING


def test_a_reply_that_was_heard_whole_is_not_carried_on() -> None:
    call = opened()
    call.is_writing = False
    call.tell(m.Transcribed("Bread?", is_final=True, speech_final=True))
    call.tell(m.ReplyText(1, "Good morning to you, dear caller."))
    call.tell(m.ReplyWritten(1))
    call.tell(m.PieceWorded(1, ""))
    call.at(1.0, m.VoiceStarted())
    call.at(1.6, m.VoiceStopped())
    call.run(6)
    assert len(call.all(m.StartReply)) == 1
    assert len(call.turns) == 1
    assert call.floor is Floor.OPEN


def test_a_cough_in_silence_asks_for_nothing() -> None:
    call = opened()
    call.sounds(1.0, 0.2)
    call.run(10)
    assert call.floor is Floor.OPEN
    assert not call.turns
