"""The memory of handled webhooks: long enough, and never too large."""

from __future__ import annotations

from getpatter.runtime.deliveries import Deliveries
from getpatter.types import Instant


def at(seconds: float) -> Instant:
    return Instant(seconds)


def test_a_delivery_is_new_once_in_ten_minutes() -> None:
    deliveries = Deliveries()
    assert deliveries.is_new("a", now=at(0))
    assert not deliveries.is_new("a", now=at(599.9))
    assert deliveries.is_new("b", now=at(599.9))
    assert deliveries.is_new("a", now=at(600))
    assert not deliveries.is_new("b", now=at(600))


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    deliveries = Deliveries(capacity=3)
    for name in "abcd":
        assert deliveries.is_new(name, now=at(1))
    assert len(deliveries) == 3
    assert not deliveries.is_new("b", now=at(1))
    assert deliveries.is_new("a", now=at(1))


def test_what_failed_may_come_again() -> None:
    deliveries = Deliveries()
    deliveries.is_new("a", now=at(0))
    deliveries.forget("a")
    deliveries.forget("never seen")
    assert deliveries.is_new("a", now=at(1))


def test_memory_does_not_grow_with_the_length_of_names() -> None:
    deliveries = Deliveries()
    assert deliveries.is_new("x" * 1_000_000, now=at(0))
    assert deliveries.is_new("\udcff", now=at(0))
    assert all(len(key) == 16 for key in deliveries._seen)
