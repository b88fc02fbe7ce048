"""Terms that must not be said, and the order of rules."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import pytest

from getpatter.core.guardrails import (
    TermFilter,
    check_terms,
    compiled,
    longest_tail,
    screen,
)
from getpatter.tools import Guardrail


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("sue", "we will sue"),
        ("sue", "SUE them, all of them"),
        ("sue", "(sue)"),
        ("sue", "**sue** and _sue_"),
        ("legal action", "take Legal\n  Action now"),
        ("legal\taction", "legal action"),
        ("straße", "In der STRASSE"),
        ("STRASSE", "in der straße"),
        ("İstanbul", "i̇stanbul is nice"),
        ("café", "the cafe\u0301 is open"),
        ("can't", "I can’t say"),
        ("c++", "I like C++"),
        ("c++", "C++11 is old"),
        (".net", "asp.net is"),
        ("$100", "for US$100 only"),
        ("@home", "stay@home"),
        ("起诉", "我们会起诉你"),
        ("sue", "我们sue你"),
        ("42", "it is 42."),
    ],
)
def test_hits(term: str, text: str) -> None:
    assert TermFilter([term]).first_hit(text) == term


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("sue", "a billing issue"),
        ("sue", "she sued, pursue, suet"),
        ("legal action", "legalaction, illegal action"),
        ("legal action", "legal, then action"),
        ("c++", "abc++"),
        ("42", "1426 and 420"),
        ("सू", "सूची"),
        ("cafe", "café"),
        ("x", ""),
    ],
)
def test_misses(term: str, text: str) -> None:
    assert TermFilter([term]).first_hit(text) is None


def test_the_first_listed_term_is_named() -> None:
    assert TermFilter(["bomb", "gun"]).first_hit("a gun and a bomb") == "bomb"


def test_a_term_that_is_part_of_a_longer_word_first_is_still_found_later() -> None:
    assert TermFilter(["sue"]).first_hit("the issue is: sue") == "sue"


def test_a_phrase_over_two_sentences_is_found() -> None:
    terms = TermFilter(["take legal action"])
    tail = terms.tail("We might take legal.")
    assert terms.first_hit("We might take legal.") is None
    assert terms.first_hit("Action is the next step.", tail) == "take legal action"


def test_a_phrase_over_three_pieces_is_found() -> None:
    terms = TermFilter(["take legal action"])
    tail = terms.tail("legal", terms.tail("So we take"))
    assert terms.first_hit("action now", tail) == "take legal action"


def test_what_was_found_before_is_not_found_again() -> None:
    terms = TermFilter(["sue", "legal action"])
    assert terms.first_hit("and so on", terms.tail("legal action and sue")) is None


def test_without_terms_nothing_is_kept() -> None:
    assert TermFilter([]).tail("a b c") == ""
    assert TermFilter([]).first_hit("a b c") is None


def test_an_empty_term_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        TermFilter([" "])


# --------------------------------------------------------------------------------------------- rules


def ask(
    screening: Generator[object, bool, Guardrail | None], answers: Iterable[bool]
) -> str | None:
    given = iter(answers)
    try:
        next(screening)
        while True:
            screening.send(next(given))
    except StopIteration as done:
        blocked: Guardrail | None = done.value
        return blocked.name if blocked else None


def no(text: str) -> bool:
    return False


RULES = compiled(
    [
        Guardrail(name="both", blocked_terms=["sue"], check=no),
        Guardrail(name="terms", blocked_terms=["legal advice"]),
        Guardrail(name="check", check=no),
    ]
)


def test_terms_come_before_the_check_of_the_same_rule() -> None:
    assert ask(screen(RULES, "I sue"), []) == "both"


def test_rules_are_asked_in_order() -> None:
    assert ask(screen(RULES, "legal advice"), [True]) == "both"
    assert ask(screen(RULES, "legal advice"), [False]) == "terms"
    assert ask(screen(RULES, "hello"), [False, True]) == "check"
    assert ask(screen(RULES, "hello"), [False, False]) is None


def test_the_check_to_run_is_the_rules_own() -> None:
    assert next(screen(RULES, "hello")) is no


def test_terms_alone() -> None:
    assert check_terms(RULES, "some legal advice") is RULES[1].guardrail
    assert check_terms(RULES, "advice", longest_tail(RULES, "some legal")) is RULES[1].guardrail
    assert check_terms(RULES, "hello") is None
    assert check_terms((), "hello") is None
    assert longest_tail((), "hello") == ""
