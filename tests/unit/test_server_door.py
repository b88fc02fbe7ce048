"""What a stranger may do at the door, without a socket and in no time."""

from __future__ import annotations

import json

import pytest

from getpatter.server.door import Door, Knock, Refused, Waiting
from getpatter.server.limits import SocketLimits
from getpatter.types import Instant
from tests.e2e.server_kit import AcmeWire, media, start

NOW = Instant(100.0)


def door(*, url_token: str = "", limits: SocketLimits | None = None) -> Door:
    return Door(AcmeWire(), limits or SocketLimits(), url_token=url_token, now=NOW)


def show(one: Door, frame: str, now: float = NOW) -> Waiting | Knock | Refused:
    return one.received(frame.encode(), now=Instant(now))


def test_a_start_knocks_with_its_token() -> None:
    one = door()
    assert show(one, '{"event": "connected"}') == Waiting()
    knock = show(one, start("t0"))
    assert isinstance(knock, Knock)
    assert (knock.token, knock.started.call_id) == ("t0", "CA1")
    assert "t0" not in repr(knock)


@pytest.mark.parametrize(
    ("in_params", "in_url", "token"),
    [({}, "u", "u"), ({"token": "p"}, "u", "p"), ({"token": ""}, "u", "u"), ({}, "", "")],
)
def test_the_token_comes_from_the_parameters_or_the_url(
    in_params: dict[str, str], in_url: str, token: str
) -> None:
    frame = json.dumps({"event": "start", "call": "CA1", "params": in_params})
    knock = show(door(url_token=in_url), frame)
    assert isinstance(knock, Knock)
    assert knock.token == token


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (media("x"), "unexpected"),
        ('{"event": "stop"}', "unexpected"),
        ("not json", "malformed"),
        ("[]", "malformed"),
        ("1", "malformed"),
        ('{"event": "start"}', "malformed"),
        ("[" * 60_000, "malformed"),
        ("x" * 65_537, "too_much"),
    ],
)
def test_anything_else_is_refused(frame: str, reason: str) -> None:
    assert show(door(), frame) == Refused(reason)


def test_four_greetings_are_enough() -> None:
    one = door()
    for _ in range(4):
        assert show(one, '{"event": "connected"}') == Waiting()
    assert show(one, '{"event": "connected"}') == Refused("unexpected")


def test_bytes_add_up() -> None:
    one = door()
    greeting = json.dumps({"event": "connected", "padding": "x" * 30_000})
    assert show(one, greeting) == Waiting()
    assert show(one, greeting) == Waiting()
    assert show(one, greeting) == Refused("too_much")


def test_time_is_up_after_ten_seconds() -> None:
    one = door()
    assert one.deadline == 110.0
    assert one.overdue(now=Instant(109.9)) == Waiting()
    assert one.overdue(now=Instant(110.0)) == Refused("late")
    assert show(one, start("t"), now=110.0) == Refused("late")


def test_junk_is_refused_by_its_name() -> None:
    assert door().junk("binary") == Refused("binary")
