"""Circles in phone menus: what counts as said before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter import DtmfEvent, TfidfLoopDetector, format_dtmf

MENU = (
    "For opening hours, press one.",
    "For billing, press two.",
    "To hear this menu again, press nine.",
)


def loops(detector: TfidfLoopDetector, *said: str) -> list[bool]:
    return [detector.add(text) for text in said]


def test_a_menu_that_comes_round_again_is_a_loop() -> None:
    assert loops(TfidfLoopDetector(), *MENU) == [False, False, False]
    assert loops(TfidfLoopDetector(), *MENU, *MENU) == [False] * 5 + [True]


def test_words_of_every_announcement_do_not_make_them_alike() -> None:
    lines = [f"For {what}, press {key}." for key, what in enumerate(
        ("sales", "billing", "repairs", "returns", "jobs", "the press office", "directions")
    )]  # fmt: skip
    assert not any(loops(TfidfLoopDetector(), *lines))


def test_a_recogniser_that_hears_it_a_little_differently_is_no_way_out() -> None:
    again = (
        "for opening hours press one",
        "for billing press two",
        "to hear this menu again press nine",
    )
    assert loops(TfidfLoopDetector(), *MENU, *again)[-1]


def test_something_new_in_between_begins_the_count_anew() -> None:
    said = [*MENU, MENU[0], MENU[1], "One moment, I connect you to a colleague.", MENU[0], MENU[1]]
    assert not any(loops(TfidfLoopDetector(), *said))


def test_after_a_loop_it_counts_again() -> None:
    said = ["All our lines are busy."] * 7
    assert loops(TfidfLoopDetector(), *said) == [False, False, False, True, False, False, True]


def test_what_is_long_ago_is_forgotten() -> None:
    others = [f"{word} {word}" for word in ("alpha", "bravo", "charlie")]
    detector = TfidfLoopDetector(window_size=3, consecutive_threshold=1)
    assert not any(loops(detector, "Hello there.", *others, "Hello there."))
    assert detector.add("Hello there!")
    detector.reset()
    assert not detector.add("Hello there!")


@given(st.lists(st.text(), max_size=12))
def test_any_text_may_come(said: list[str]) -> None:
    for text in said:
        TfidfLoopDetector().add(text)
    detector = TfidfLoopDetector()
    assert sum(loops(detector, *said)) <= len(said) / 3


@pytest.mark.parametrize(
    "options",
    [{"window_size": 1}, {"similarity_threshold": 0}, {"similarity_threshold": 1.1},
     {"consecutive_threshold": 0}],
)  # fmt: skip
def test_numbers_out_of_range_are_mistakes(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TfidfLoopDetector(**options)  # type: ignore[arg-type]


def test_keys_as_people_write_them() -> None:
    assert format_dtmf([DtmfEvent.ONE, DtmfEvent.STAR, "5", DtmfEvent.POUND]) == "1 * 5 #"
    assert format_dtmf([]) == ""
    assert "".join(sorted(DtmfEvent)) == "#*0123456789ABCD"
    with pytest.raises(ValueError, match="'E' is not a valid"):
        format_dtmf(["E"])
