"""One reply of a model, told chunk by chunk."""

from __future__ import annotations

import pytest

from getpatter.core import model_loop as ml
from getpatter.core.exchanges import Wish
from getpatter.types import Instant

NOW = Instant(100.0)


def begun(**options: bool | int) -> ml.ModelLoop:
    loop = ml.ModelLoop(**options)  # type: ignore[arg-type]
    assert loop.begin(NOW) == [ml.Ask(1, with_tools=bool(options.get("has_tools", True)))]
    return loop


def tell(loop: ml.ModelLoop, *events: ml.Input, at: float = 100.0) -> list[ml.Command]:
    return [command for event in events for command in loop.handle(event, Instant(at))]


def test_words_are_said_as_they_come_and_the_end_finishes() -> None:
    loop = begun()
    assert tell(loop, ml.Wrote("Hel"), ml.Wrote(""), ml.Wrote("lo."), ml.Ended()) == [
        ml.Say("Hel"),
        ml.Say("lo."),
        ml.Finish(),
    ]
    assert loop.is_over
    assert loop.deadline is None
    assert tell(loop, ml.Wrote("late")) == []


def test_words_before_a_call_are_said_now_and_fragments_are_joined() -> None:
    loop = begun()
    commands = tell(
        loop,
        ml.Wrote("One moment"),
        ml.CallPart(1, "b", "see"),
        ml.CallPart(0, "a", "look", '{"x"'),
        ml.CallPart(0, arguments=":1}"),
        ml.Ended(),
    )
    wishes = (Wish("a", "look", '{"x":1}'), Wish("b", "see", ""))
    assert commands == [
        ml.Say("One moment"),
        ml.SayNow(),
        ml.SayNow(),
        ml.RunTools(wishes, "One moment"),
    ]
    assert loop.deadline is None
    assert tell(loop, ml.Returned("b"), ml.Ticked(), ml.Wrote("x")) == []
    assert tell(loop, ml.Returned("a")) == [ml.Ask(2, with_tools=True)]


def test_calls_without_an_id_or_with_the_same_one_are_told_apart() -> None:
    loop = begun()
    parts = [ml.CallPart(0, "", "a"), ml.CallPart(1, "z", "b"), ml.CallPart(2, "z", "c")]
    (*_, run) = tell(loop, *parts, ml.Ended())
    assert isinstance(run, ml.RunTools)
    assert len({wish.id for wish in run.wishes}) == 3


def test_after_the_last_round_it_is_asked_without_tools() -> None:
    loop = begun(max_rounds=2)
    for request in (2, 3):
        tell(loop, ml.CallPart(0, "a", "x"), ml.Ended())
        assert tell(loop, ml.Returned("a")) == [ml.Ask(request, with_tools=request < 3)]
    assert tell(loop, ml.CallPart(0, "a", "x"), ml.Ended()) == [
        ml.GiveUp("the model only wants tools")
    ]


@pytest.mark.parametrize("broken", [ml.Broke("gone"), ml.Ticked()])
def test_an_answer_that_gave_nothing_is_asked_for_once_more(broken: ml.Input) -> None:
    loop = begun()
    assert tell(loop, ml.Ticked(), at=114.9) == []
    tell(loop, ml.CallPart(0, "a", "x"))  # calls alone have done nothing yet
    assert tell(loop, broken, at=130.0) == [ml.Ask(2, with_tools=True)]
    assert loop.deadline == 145.0
    (gave_up,) = tell(loop, broken, at=145.0)
    assert isinstance(gave_up, ml.GiveUp)


def test_an_answer_that_broke_off_after_words_is_not_asked_for_again() -> None:
    assert tell(begun(), ml.Wrote("So"), ml.Broke("gone")) == [ml.Say("So"), ml.GiveUp("gone")]


def test_each_round_has_its_own_second_chance() -> None:
    loop = begun()
    tell(loop, ml.Broke("1"), ml.CallPart(0, "a", "x"), ml.Ended(), ml.Returned("a"))
    assert tell(loop, ml.Broke("2")) == [ml.Ask(4, with_tools=True)]


def test_a_call_that_ends_needs_no_more_words_if_there_were_some() -> None:
    loop = begun()
    tell(loop, ml.Wrote("Goodbye!"), ml.CallPart(0, "a", "end_call"), ml.Ended())
    assert tell(loop, ml.Returned("a", ends_call=True)) == [ml.Finish()]
    loop = begun()
    tell(loop, ml.CallPart(0, "a", "end_call"), ml.Ended())
    assert tell(loop, ml.Returned("a", ends_call=True)) == [ml.Ask(2, with_tools=False)]


def test_a_model_that_says_nothing_is_silent() -> None:
    assert tell(begun(has_tools=False), ml.Ended()) == [ml.Finish()]


def test_a_round_has_a_bounded_number_of_calls() -> None:
    loop = begun()
    (run,) = tell(loop, *(ml.CallPart(i, f"c{i}", "x") for i in range(100)), ml.Ended())[1:]
    assert isinstance(run, ml.RunTools)
    assert len(run.wishes) == ml.MAX_CALLS
