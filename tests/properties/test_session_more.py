"""More that holds however a call goes: order of lines and instants, silence after a cut, an answer at every turn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.turns import Floor
from tests.properties.test_session import LINES, MANNERS, SCRIPTS, call_of
from tests.support.conversation import MS_PER_LETTER, Conversation, Line

QUESTION: Final = "Is anybody there?"


# -------------------------------------------------------------------------------------------- lines


@given(MANNERS, LINES, SCRIPTS)
def test_lines_are_reported_in_the_order_of_the_turns(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = call_of(manners, line, [*script, (40.0, m.StreamEnded())])
    call.run(60)
    reported = [c for _, c in call.commands if isinstance(c, m.ReportLine)]
    assert [(c.role, c.text) for c in reported] == call.lines
    assert all(before.turn_index <= after.turn_index for before, after in pairwise(reported))
    over = -1
    for _, command in call.commands:
        if isinstance(command, m.ReportTurn):
            over = command.record.index
        elif isinstance(command, m.ReportLine):
            assert command.turn_index > over, "a line of a turn that was reported as over"


@given(MANNERS, LINES, SCRIPTS)
def test_each_turn_has_the_lines_that_were_reported_for_it(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = call_of(manners, line, [*script, (40.0, m.StreamEnded())])
    call.run(60)
    for turn in call.turns:
        said = [
            c.text
            for _, c in call.commands
            if isinstance(c, m.ReportLine) and (c.turn_index, c.role) == (turn.index, "assistant")
        ]
        assert said == ([turn.agent_text] if turn.agent_text else [])


# ------------------------------------------------------------------------------------------ instants


def _life(turn: m.TurnRecord) -> list[float]:
    """The instants of one turn's answer, in the order in which they must come."""
    life = (
        turn.committed_at,
        turn.first_text_at,
        turn.first_voice_at,
        turn.first_audio_at,
    )
    return [at for at in life if at is not None]


@given(MANNERS, LINES, SCRIPTS)
def test_time_goes_on_in_every_record(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = call_of(manners, line, [*script, (40.0, m.StreamEnded())])
    call.run(60)
    for turn in call.turns:
        life = _life(turn)
        assert life == sorted(life), turn
        if turn.speech_began is not None and turn.speech_ended is not None:
            assert turn.speech_began <= turn.speech_ended
        for first, last in (
            (turn.first_text_at, turn.last_text_at),
            (turn.first_voice_at, turn.last_voice_at),
        ):
            assert first is None or (last is not None and first <= last)
    stamps = [each.timestamp for each in call.session.history.lines]
    assert stamps == sorted(stamps)


# --------------------------------------------------------------------------------- silence after a cut


@dataclass(slots=True)
class Coloured(Conversation):
    """A voice that writes the number of the piece into each byte, so that audio can be told apart."""

    def _do(self, command: m.AnyCommand) -> None:
        if not isinstance(command, m.Speak):
            # `super()` knows nothing of the class that `slots` makes anew.
            Conversation._do(self, command)
            return
        after = self.line.voices_after
        whole = colour(command.piece) * round(8 * MS_PER_LETTER * len(command.text))
        self.later(after, m.PieceWorded(command.piece, command.text))
        for part in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
            self.later(after, m.PieceVoiced(command.piece, part))
            after += 0.4
        self.later(after, m.PieceDone(command.piece))


def colour(piece: int) -> bytes:
    return bytes([piece % 256])


SILENT: Final = st.lists(
    st.tuples(
        st.floats(0, 25),
        st.one_of(
            st.builds(m.Voiced, st.sampled_from([0.0, 0.99])),
            st.builds(m.VoiceStarted, st.just(250.0)),
            st.builds(m.VoiceStopped, st.just(0.0)),
            st.builds(
                m.Transcribed,
                st.sampled_from(["yes", "a table for two", "12"]),
                is_final=st.booleans(),
                speech_final=st.booleans(),
            ),
            st.builds(m.KeyPressed, st.sampled_from("12")),
            st.builds(m.SayAsked, st.just("Your turn is next.")),
        ),
    ),
    max_size=30,
)


@given(MANNERS, LINES, SILENT)
def test_no_sound_of_a_cut_reply_follows_its_clear(
    manners: Manners, line: Line, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = Coloured(manners, line)
    call.at(0.0, m.Opened("Hello, this is the bakery. What may I do for you today?"))
    for time, event in script:
        call.at(time, event)
    call.run(40)
    replies: dict[int, int] = {}
    cut: set[int] = set()
    for _, command in call.commands:
        match command:
            case m.Speak(reply=reply, piece=piece):
                replies[colour(piece)[0]] = reply
            case m.CancelReply(reply=reply):
                cut.add(reply)
            case m.SendAudio(data=data):
                assert not {replies[byte] for byte in set(data)} & cut
            case _:
                pass
    sent = sum(len(c.data) for _, c in call.commands if isinstance(c, m.SendAudio))
    assert sent > 0 or cut, "the greeting was said, or cut before its first sound"


# --------------------------------------------------------------------------------- nobody is left waiting


@given(MANNERS, LINES, st.lists(SCRIPTS, min_size=1, max_size=3))
def test_every_question_is_answered_however_the_call_went_before_it(
    manners: Manners, line: Line, scripts: list[list[tuple[float, m.AnyInput]]]
) -> None:
    call = Conversation(manners, line)
    call.tell(m.Opened("Hello, this is the bakery."))
    for number, script in enumerate(scripts):
        for time, event in script:
            call.later(time, event)
        call.run(call.now - 100 + 25)
        call.later(0.5, m.VoiceStopped())
        call.run(call.now - 100 + 25)
        if call.floor in {Floor.CLOSING, Floor.CLOSED}:
            return  # the caller was asked whether they are still there, and was not
        question = f"{QUESTION} {number}"
        before = len(call.turns)
        call.later(0.0, m.VoiceStarted())
        call.later(0.8, m.Transcribed(question, is_final=False))
        call.later(1.0, m.VoiceStopped())
        call.later(1.2, m.Transcribed(question, is_final=True))
        call.run(call.now - 100 + 45)
        answered = [turn for turn in call.turns[before:] if question in turn.user_text]
        assert len(answered) == 1, call.floor
        assert answered[0].agent_text, "and it was heard"
