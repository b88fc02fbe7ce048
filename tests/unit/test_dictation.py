"""Numbers that a caller speaks, in six languages."""

from __future__ import annotations

import pytest

from getpatter.core.dictation import spoken_digits, was_dictated


@pytest.mark.parametrize(
    ("language", "said", "digits"),
    [
        ("en", "plus one, five five five, double oh twelve thirty-four", "1555001234"),
        ("en-GB", "treble nine, eight hundred", "999800"),
        ("en", "call me at 555-0001 (ext. 42)", "555000142"),
        ("en", "[DTMF: 12#]", "12"),
        ("it", "tre trentotto quarantuno ventitré", "3384123"),
        ("it", "tre, tre, otto, uno", "3381"),
        ("es", "seis veintidós treinta y uno", "62231"),
        ("de", "null eins vierundzwanzig zwo", "01242"),
        ("de", "einundneunzig dreißig", "9130"),
        ("fr", "zéro six, quatre-vingt-dix-sept, soixante et onze, quatre-vingts", "06977180"),
        ("pt", "nove um, trinta e dois, meia", "91326"),
        ("xx", "nine 9 ٣", "93"),
    ],
)
def test_digits_are_read_however_they_are_said(language: str, said: str, digits: str) -> None:
    assert spoken_digits(said, language) == digits


@pytest.mark.parametrize(
    "lines",
    [
        ["my number is 555 000 1234"],
        ["five five five", "zero zero zero", "twelve thirty four"],
        ["five five five, oh, well: zero zero zero one two three four"],
        ["it's one five five five, triple oh one two three four"],
    ],
)
def test_a_number_is_found_in_parts_and_without_its_country(lines: list[str]) -> None:
    assert was_dictated("+15550001234", lines, language="it")
    assert was_dictated("sip:+15550001234@example.com", lines, language="it")


def test_other_numbers_are_not_found() -> None:
    assert not was_dictated("+15550001234", ["at 5 past 12, for 3 people"], language="en")
    assert not was_dictated("+15550001234", ["555 000 1235"], language="en")
    assert not was_dictated("sip:desk12@example.com", ["1 2"], language="en")
