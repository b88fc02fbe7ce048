"""However rudely a call with an engine goes, nobody is left unanswered and nothing is said that was cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core import messages as m
from getpatter.core.engine_manners import EngineManners
from getpatter.core.manners import Manners
from getpatter.core.turns import WAITING, Floor
from getpatter.types import Instant
from tests.support.engine_talk import EngineTalk

NAMES = st.sampled_from(["w1", "w2", "w3", "x"])
ITEMS = st.sampled_from(["w1.i", "w2.i", "x.i", "u1", "u2", "u3"])
WORDS = st.sampled_from(["", "yes", "I would like a table", "Goodbye."])
SOUND = st.sampled_from([b"", b"\x7f" * 160, b"\x7f" * 6400])
STATUS = st.sampled_from(["completed", "cancelled", "failed", "incomplete"])
EVENTS = st.one_of(
    st.builds(m.Opened, st.sampled_from(["", "Hello, this is the bakery."])),
    st.builds(m.Voiced, st.sampled_from([0.0, 0.6, 0.99])),
    st.builds(m.VoiceStarted, st.sampled_from([0.0, 250.0])),
    st.builds(m.VoiceStopped, st.sampled_from([0.0, 400.0])),
    st.builds(m.KeyPressed, st.sampled_from("019*#")),
    st.builds(m.MarkCame, st.sampled_from(["p1", "p2", "p3", "zz"])),
    st.builds(m.SayAsked, WORDS),
    st.builds(m.QuietAwaited, st.integers(0, 4)),
    st.builds(m.EngineReady, st.booleans()),
    st.builds(m.EngineLost),
    st.builds(m.EngineHeardVoice, ITEMS, st.sampled_from([0.0, 200.0])),
    st.builds(m.EngineHeardPause, ITEMS),
    st.builds(m.EngineTookTurn, ITEMS),
    st.builds(m.EngineTranscribed, ITEMS, WORDS, st.booleans()),
    st.builds(m.EngineReplyBegan, NAMES, st.integers(0, 4)),
    st.builds(m.EngineText, NAMES, ITEMS, WORDS, st.booleans()),
    st.builds(m.EngineAudio, NAMES, ITEMS, SOUND),
    st.builds(m.EngineItemDone, NAMES, ITEMS),
    st.builds(m.EngineCalledTool, NAMES, st.sampled_from(["c1", "c2"]), st.just("t"), st.just("")),
    st.builds(m.EngineReplyEnded, NAMES, STATUS),
    st.builds(m.EngineRefused, st.integers(0, 4)),
    st.builds(m.EngineInterrupted),
    st.builds(m.EngineCorrected, WORDS),
    st.builds(m.EngineGuarded, st.booleans()),
    st.builds(m.ToolDone, st.sampled_from(["c1", "c2", "zz"]), st.just("42")),
    st.builds(m.Screened, ITEMS, st.integers(0, 30), st.sampled_from([None, "No."])),
    st.just(m.Ticked()),
)
ENDS = st.one_of(
    st.builds(m.CloseAsked),
    st.just(m.MachineFound()),
    st.builds(m.EngineGone),
    st.builds(m.StreamEnded),
)
TIMES = st.floats(0, 25)
RUDE = st.lists(st.tuples(TIMES, st.one_of(EVENTS, ENDS)), max_size=40)
TURNS = st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 3.0)), max_size=6)
MANNERS = st.builds(
    Manners,
    barge_in_threshold_ms=st.sampled_from([0.0, 300.0, 700.0]),
    long_turn_message=st.sampled_from(["", "One moment."]),
    idle_timeout=st.sampled_from([None, 6.0]),
    apology=st.sampled_from(["", "Sorry."]),
)
ENGINES = st.builds(
    EngineManners,
    answers_itself=st.booleans(),
    says_when_done=st.booleans(),
    is_guarded=st.booleans(),
)


@given(MANNERS, ENGINES, RUDE)
def test_any_order_of_events_is_survived(
    manners: Manners, engine: EngineManners, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = EngineTalk(manners, engine)
    for time, event in script:
        call.at(time, event)
    heard = 0.0
    for second in range(0, 60, 3):
        call.run(second)
        now = Instant(call.now)
        if call.floor in WAITING:
            assert call.session.deadline(now) is not None
        ear = call.session.playout.heard_ms(now)
        assert heard <= ear <= call.session.playout.sent_ms + 0.001
        heard = ear


@given(MANNERS, RUDE)
def test_after_any_disorder_the_caller_is_answered_again(
    manners: Manners, script: list[tuple[float, m.AnyInput]]
) -> None:
    call = EngineTalk(manners, EngineManners(manners.barge_in_threshold_ms == 300))
    ends = (m.CloseAsked, m.MachineFound, m.EngineGone, m.StreamEnded)
    call.at(0.0, m.Opened())
    call.at(0.0, m.EngineReady())
    for time, event in script:
        if not isinstance(event, ends):
            call.at(time, event)
    call.at(26.0, m.VoiceStopped())
    call.at(26.0, m.EngineLost())
    call.at(26.5, m.EngineReady(is_again=True))
    call.run(70)
    if call.floor is Floor.CLOSED:
        return  # idle
    before = len(call.lines)
    call.turn(70, "Are you there?")
    call.run(110)
    answers = [line for line in call.lines[before:] if line == ("assistant", call.says)]
    assert answers or call.session.floor is Floor.CLOSED, call.lines[before:]


@given(MANNERS, st.booleans(), TURNS)
def test_an_engine_is_never_asked_while_it_speaks_and_every_turn_is_told_once(
    manners: Manners, is_guarded: bool, turns: list[tuple[float, float]]
) -> None:
    engine = EngineManners(manners.barge_in_threshold_ms == 300, is_guarded=is_guarded)
    call = EngineTalk(manners, engine)
    call.at(0.0, m.Opened("Hello, this is the bakery."))
    call.at(0.0, m.EngineReady())
    start = 0.0
    for pause, lasts in turns:
        start += pause
        call.turn(start, "Hello.", lasts=lasts)
        start += lasts + 0.4
    call.run(start + 30)
    assert not call.breaches
    told = [line for line in call.lines if line[0] == "user"]
    assert told == [("user", "Hello.")] * len(turns)
    numbers = [command.record.index for command in call.all(m.ReportTurn)]  # type: ignore[attr-defined]
    assert numbers == sorted(set(numbers))
    if turns and call.floor is not Floor.CLOSED:
        assert call.lines[-1][0] == "assistant"
