"""Grammars as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.stt._local_grammar import parse


def test_phrases_are_sentences() -> None:
    assert list(parse(["Yes, please.", "no"]).sentences()) == ["yes please", "no"]


def test_groups_choices_and_what_may_be_left_out() -> None:
    grammar = parse("[please] book (a haircut | a check up)")
    assert list(grammar.sentences()) == [
        "book a haircut",
        "book a check up",
        "please book a haircut",
        "please book a check up",
    ]
    assert grammar.words == {"please", "book", "a", "haircut", "check", "up"}


def test_names_stand_for_their_lines() -> None:
    grammar = parse("on <day>\n\n# a remark\nday = monday | tuesday")
    assert list(grammar.sentences()) == ["on monday", "on tuesday"]


def test_a_sentence_is_listed_once() -> None:
    assert list(parse("yes | yes [please] | yes").sentences()) == ["yes", "yes please"]


def test_the_jsgf_says_the_same() -> None:
    assert parse("day = monday | tuesday\n[on] <day>").jsgf == (
        "#JSGF V1.0;\ngrammar callers;\n<r_day> = (monday | tuesday);\n"
        "public <sentence> = [on] <r_day>;\n"
    )


def test_jsgf_is_taken_as_it_is() -> None:
    jsgf = (
        "#JSGF V1.0 UTF-8;\ngrammar desk.one;\nimport <other.rule>;\n// not a word\n/* nor this */\n"
        "public <answer> = /0.5/ yes {affirm} | <no> * ;\n<no> = no+;\n"
    )
    grammar = parse(jsgf)
    assert grammar.words == {"yes", "no"}
    assert grammar.jsgf == jsgf
    assert list(grammar.sentences()) == []


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        ("", "no sentence"),
        ([], "no sentence"),
        ("day = monday", "no sentence"),
        ("book (a", r"'\)' is missing"),
        ("book [a", r"'\]' is missing"),
        ("book a)", r"'\)' has no partner"),
        ("yes |", "is empty"),
        ("yes ()", "is empty"),
        ("at 9:30", "'9:30' is not a word"),
        ("[yes]", "that is silence"),
        ("[yes] [please]", "that is silence"),
        ("[yes] | no", "that is silence"),
        ("on <day>", "uses <day>"),
        ("day = <day>\non <day>", "contains itself"),
        ("a = <b>\nb = <a>\nyes", "contains itself"),
        ("a = x\na = y\nyes", "defines <a> twice"),
        ("#JSGF V1.0;\ngrammar g;\n<a> = yes;", "no public rule"),
        ("#JSGF V1.0;\ngrammar g;\npublic <a> = <NULL>;", "no words"),
    ],
)
def test_a_mistake_is_shown(grammar: str | list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(grammar)


@given(st.text(alphabet="ab c()[]|<>=\n9,", max_size=40))
def test_rubbish_is_refused_politely_or_understood(text: str) -> None:
    try:
        grammar = parse(text)
    except ValueError:
        return
    assert all(set(sentence.split()) <= grammar.words for sentence in grammar.sentences())
