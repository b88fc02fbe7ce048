"""What a log shows of an exception that is not ours: everything but its words."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from getpatter.errors import CallEndedError
from getpatter.tracebacks import WITHHELD, without_text
from getpatter.types import shown_url

SAID = "my card is 4929 1188 0027 3366"


def shown(error: BaseException) -> str:
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), None)
    stand_in = without_text(error)
    assert stand_in is not None
    record.exc_info = (type(stand_in), stand_in, stand_in.__traceback__)
    return logging.Formatter().format(record)


def raised(fail: Callable[[], object]) -> Exception:
    try:
        fail()
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
    raise AssertionError("nothing was raised")


def plainly() -> None:
    raise ValueError(SAID)


def with_cause() -> None:
    try:
        plainly()
    except ValueError as error:
        raise RuntimeError(SAID) from error


def while_handling() -> None:
    try:
        plainly()
    except ValueError:
        dict[str, str]()[SAID]


def several() -> None:
    raise ExceptionGroup(SAID, [raised(plainly), KeyError(SAID)])


def in_a_circle() -> None:
    first, second = ValueError(SAID), ValueError(SAID)
    first.__cause__, second.__cause__ = second, first
    raise first


@pytest.mark.parametrize("fail", [plainly, with_cause, while_handling, several, in_a_circle])
def test_class_and_place_are_shown_and_words_are_not(fail: Callable[[], object]) -> None:
    text = shown(raised(fail))
    assert "4929" not in text
    assert WITHHELD in text
    assert f"in {fail.__name__}" in text
    assert "Traceback (most recent call last)" in text


def test_causes_are_shown_as_causes() -> None:
    text = shown(raised(with_cause))
    assert "direct cause of the following exception" in text
    assert "ValueError: (" in text
    assert "RuntimeError: (" in text
    assert "During handling" in shown(raised(while_handling))


def test_the_class_keeps_its_name() -> None:
    class LostError(Exception):
        pass

    def fail() -> None:
        raise LostError(SAID)

    assert f"{LostError.__module__}.{LostError.__qualname__}: {WITHHELD}" in shown(raised(fail))


def test_our_own_errors_keep_their_words() -> None:
    def fail() -> None:
        raise CallEndedError("the call is over")

    assert "CallEndedError: the call is over" in shown(raised(fail))


def test_words_are_there_where_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATTER_LOG_ERROR_TEXT", "1")
    error = raised(plainly)
    assert without_text(error) is error
    assert SAID in shown(error)


def test_nothing_stays_nothing() -> None:
    assert without_text(None) is None


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://example.com/tools/x", "https://example.com/tools/x"),
        ("https://ann:secret@example.com:8/x", "https://***@example.com:8/x"),
        ("https://a@b@example.com", "https://***@example.com"),
        ("https://example.com/x?key=secret&b=2#top", "https://example.com/x?key=***&b=***#top"),
        ("wss://example.com?secret", "wss://example.com?***"),
        ("ann:secret@example.com", "***@example.com"),
        ("", ""),
    ],
)
def test_a_url_shows_neither_user_nor_values(url: str, wanted: str) -> None:
    assert shown_url(url) == wanted
