"""Stream tokens: known, unused, unexpired, and of this call, or worthless."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from getpatter.runtime.tokens import INBOUND_LIFE, Grant, StreamTokens, outbound_life
from getpatter.types import Instant

NOW = Instant(1000.0)
GRANT = Grant("CA1", "acme", "inbound", Instant(NOW + INBOUND_LIFE), "CA1")


def scripted() -> StreamTokens:
    numbers = count()
    return StreamTokens(lambda n_bytes: next(numbers).to_bytes(n_bytes, "big"))


def spend(tokens: StreamTokens, token: str, **changed: object) -> Grant | None:
    shown = {"reference": "CA1", "call_id": "CA1", "carrier": "acme", "now": NOW, **changed}
    return tokens.spend(token, **shown)  # type: ignore[arg-type]


def test_a_token_has_256_bits_and_fits_a_url() -> None:
    asked: list[int] = []

    def entropy(n_bytes: int) -> bytes:
        asked.append(n_bytes)
        return b"\xff" * n_bytes

    token = StreamTokens(entropy).mint(GRANT, now=NOW)
    assert asked == [32]
    assert token == "_" * 42 + "8"


def test_a_token_is_good_once() -> None:
    tokens = scripted()
    token = tokens.mint(GRANT, now=NOW)
    assert spend(tokens, token) == GRANT
    assert spend(tokens, token) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"reference": "CA2"},
        {"call_id": "CA2"},
        {"call_id": ""},
        {"call_id": "CA\udcff"},
        {"carrier": "other"},
        {"now": Instant(NOW + 60)},
    ],
    ids=str,
)
def test_a_token_shown_wrongly_opens_nothing_and_stays(changed: dict[str, object]) -> None:
    tokens = scripted()
    token = tokens.mint(GRANT, now=NOW)
    assert spend(tokens, token, **changed) is None
    assert spend(tokens, token, now=Instant(NOW + 59.9)) == GRANT


@pytest.mark.parametrize("guess", ["", "x", "\udcff", "A" * 43])
def test_a_guess_opens_nothing(guess: str) -> None:
    tokens = StreamTokens(lambda n_bytes: b"\x01" * n_bytes)
    tokens.mint(GRANT, now=NOW)
    assert spend(tokens, guess) is None
    assert len(tokens) == 1


def test_the_token_itself_is_not_kept() -> None:
    tokens = scripted()
    token = tokens.mint(GRANT, now=NOW)
    assert token not in repr(tokens._grants)
    assert token.encode() not in tokens._grants


def test_looking_does_not_spend() -> None:
    tokens = scripted()
    token = tokens.mint(GRANT, now=NOW)
    assert tokens.look(token, reference="CA1", now=NOW) == GRANT
    assert tokens.look(token, reference="CA2", now=NOW) is None
    assert spend(tokens, token) == GRANT


def test_of_two_answers_to_one_webhook_either_is_good_and_then_none() -> None:
    tokens = scripted()
    first, second = tokens.mint(GRANT, now=NOW), tokens.mint(GRANT, now=NOW)
    assert first != second
    assert spend(tokens, second) == GRANT
    assert spend(tokens, first) is None


def test_a_placed_call_waits_for_its_id() -> None:
    tokens = scripted()
    grant = Grant("ref", "acme", "outbound", Instant(NOW + outbound_life(25)))
    token = tokens.mint(grant, now=NOW)
    assert tokens.look(token, reference="ref", now=NOW) == grant
    assert spend(tokens, token, reference="ref", call_id="CA9") is None
    tokens.attach("ref", "CA9")
    tokens.attach("ref", "CA-later")
    assert spend(tokens, token, reference="ref", call_id="CA-later") is None
    assert spend(tokens, token, reference="ref", call_id="CA9") == replace(grant, call_id="CA9")


@pytest.mark.parametrize(("ring_timeout", "life"), [(25, 85.0), (0, 60.0), (None, 660.0)])
def test_a_token_lives_as_long_as_the_phone_may_ring(ring_timeout: int | None, life: float) -> None:
    assert outbound_life(ring_timeout) == life


def test_what_nobody_came_for_is_forgotten() -> None:
    tokens = scripted()
    for _ in range(100):
        tokens.mint(GRANT, now=NOW)
    assert len(tokens) == 100
    later = Instant(NOW + 60)
    tokens.mint(replace(GRANT, expires_at=Instant(later + 60)), now=later)
    assert len(tokens) == 1
    tokens.revoke("CA1")
    tokens.revoke("CA1")
    assert len(tokens) == 0
