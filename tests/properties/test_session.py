"""However rudely a call goes, nobody is left unanswered and nothing is said that was cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.turns import WAITING, Floor
from tests.support.conversation import Conversation, Line

NUMBERS = st.integers(0, 8)
WORDS = st.sampled_from(["", "...", "yes", "no", "mm", "I would like a table", "12", "Goodbye."])
EVENTS = st.one_of(
    st.builds(m.Opened, st.sampled_from(["", "Hello, this is the bakery. What may I do for you?"])),
    st.builds(m.Voiced, st.sampled_from([0.0, 0.4, 0.6, 0.99])),
    st.builds(m.VoiceStarted, st.sampled_from([0.0, 250.0])),
    st.builds(m.VoiceStopped, st.sampled_from([0.0, 400.0])),
    st.builds(m.Transcribed, WORDS, is_final=st.booleans(), speech_final=st.booleans()),
    st.builds(m.KeyPressed, st.sampled_from("0129*#")),
    st.builds(m.MarkCame, st.sampled_from(["p1", "p2", "p3", "p4", "zz"])),
    st.builds(m.ReplyText, NUMBERS, WORDS),
    st.builds(m.ReplyWritten, NUMBERS),
    st.builds(m.ReplyFailed, NUMBERS),
    st.builds(m.PieceWorded, NUMBERS, WORDS, st.booleans()),
    st.builds(m.PieceVoiced, NUMBERS, st.sampled_from([b"", b"\x7f" * 160, b"\x7f" * 6400])),
    st.builds(m.PieceDone, NUMBERS, st.booleans()),
    st.builds(m.SayAsked, WORDS),
    st.builds(m.QuietAwaited, NUMBERS),
    st.builds(m.InterruptionConfirmed, NUMBERS),
    st.builds(m.TurnJudged, NUMBERS, st.booleans()),
    st.just(m.Ticked()),
)
ENDS = st.one_of(
    st.builds(m.CloseAsked),
    st.just(m.MachineFound()),
    st.builds(m.StreamEnded),
)
TIMES = st.floats(0, 25)
SCRIPTS = st.lists(st.tuples(TIMES, EVENTS), max_size=40)
RUDE = st.lists(st.tuples(TIMES, st.one_of(EVENTS, ENDS)), max_size=40)
MANNERS = st.builds(
    Manners,
    barge_in_threshold_ms=st.sampled_from([0.0, 40.0, 300.0]),
    long_turn_message=st.sampled_from(["", "One moment."]),
    idle_timeout=st.sampled_from([None, 6.0]),
    apology=st.sampled_from(["", "Sorry."]),
    draft_after=st.sampled_from([None, 0.3]),
    turn_held_within=st.sampled_from([None, None, 1.2]),
    barge_in_pauses=st.booleans(),
    barge_in_asks=st.booleans(),
    barge_in_confirm_within=st.sampled_from([0.0, 1.5]),
)
LINES = st.builds(
    Line,
    mark_delay=st.sampled_from([0.0, 0.4, 3.0]),
    loses_marks=st.sampled_from([lambda _n: False, lambda _n: True, lambda n: n % 2 == 0]),
)


def call_of(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]], *, is_open: bool = True
) -> Conversation:
    call = Conversation(manners, line)
    if is_open:
        call.at(0.0, m.Opened())
    for time, event in script:
        call.at(time, event)
    return call


@given(MANNERS, LINES, RUDE, st.booleans())
def test_any_order_of_events_is_survived(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]], is_open: bool
) -> None:
    call = call_of(manners, line, script, is_open=is_open)
    heard = 0.0
    for second in range(0, 60, 2):
        call.run(second)
        if call.floor in WAITING:
            assert call.session.deadline(call.now) is not None  # type: ignore[arg-type]
        ear = call.session.playout.heard_ms(call.now)  # type: ignore[arg-type]
        assert heard <= ear <= call.session.playout.sent_ms + 0.001
        heard = ear
    starts = {c.reply for c in call.all(m.StartReply) if isinstance(c, m.StartReply)}
    spoken = {c.reply for c in call.all(m.Speak) if isinstance(c, m.Speak)}
    assert len(starts) == len(call.all(m.StartReply))
    assert len(call.turns) >= len(starts | spoken) - 1, "only the last may be under way"
    assert [turn.index for turn in call.turns] == list(range(len(call.turns)))


@given(MANNERS, LINES, RUDE)
def test_nothing_follows_the_end(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = call_of(manners, line, [*script, (26.0, m.StreamEnded()), (26.5, m.StreamEnded())])
    call.run(40)
    assert isinstance(call.commands[-1][1], m.Finish)
    assert len(call.all(m.Finish)) == 1
    assert len(call.all(m.HangUp)) <= 1
    assert call.session.deadline(call.now) is None  # type: ignore[arg-type]
    started = {c.reply for c in call.all(m.Speak) + call.all(m.StartReply)}  # type: ignore[attr-defined]
    assert len(call.turns) >= len(started)
    asked = {event.ticket for at, event in script if isinstance(event, m.QuietAwaited)}
    answered = {c.ticket for c in call.all(m.SayQuiet)}  # type: ignore[attr-defined]
    assert answered <= asked


@given(MANNERS, LINES, SCRIPTS)
def test_a_cut_reply_is_not_heard_again(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = call_of(manners, line, script)
    call.run(60)
    speaking = False
    for (_, before), (_, after) in pairwise(call.commands):
        if isinstance(after, m.ReportSpeech) and after.who == "agent":
            assert speaking is not after.started
            speaking = after.started
        if isinstance(before, m.SendClear) and not manners.barge_in_pauses:
            assert isinstance(after, m.CancelReply)
    cancelled: set[int] = set()
    for _, command in call.commands:
        if isinstance(command, m.CancelReply):
            cancelled.add(command.reply)
        if isinstance(command, m.Speak | m.StartReply):
            assert command.reply not in cancelled


@given(MANNERS, LINES, SCRIPTS)
def test_nobody_is_left_unanswered(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = call_of(manners, line, script)
    call.run(25)
    call.later(0.5, m.VoiceStopped())
    call.run(50)
    if call.floor in {Floor.CLOSING, Floor.CLOSED}:
        return  # the caller was asked whether they are still there, and was not
    answers = len(call.all(m.StartReply))
    call.later(0.0, m.VoiceStarted())
    call.later(0.8, m.Transcribed("Is anybody there?", is_final=False))
    call.later(1.0, m.VoiceStopped())
    call.later(1.2, m.Transcribed("Is anybody there?", is_final=True))
    call.run(95)
    assert len(call.all(m.StartReply)) > answers, call.floor
    assert "Is anybody there?" in " ".join(text for role, text in call.lines if role == "user")


@given(MANNERS, LINES, SCRIPTS, st.floats(0, 25))
def test_a_closing_call_ends_in_time(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]], when: float
) -> None:
    call = call_of(manners, line, script)
    call.at(when, m.CloseAsked())
    call.run(when + manners.closing_bound + 0.1)
    assert call.floor is Floor.CLOSED
    assert len(call.all(m.HangUp)) == 1
