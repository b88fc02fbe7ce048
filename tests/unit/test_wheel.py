"""Calls are woken at their deadlines by one timer, and none of them can spoil it for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from getpatter.runtime import clock
from getpatter.runtime.wheel import SLOT_S, Lateness, PacingWheel
from getpatter.testing.time import START, in_virtual_time
from getpatter.types import Instant


class Call:
    """Wants a tick every 20 ms, or whatever `then` says."""

    def __init__(
        self, first: float, *, then: Callable[[Instant], float | None] = lambda at: at + 0.02
    ) -> None:
        self.deadline: Instant | None = Instant(first)
        self.then = then
        self.ticks: list[float] = []
        self.late: list[float] = []
        self.errors: list[Exception] = []

    def tick(self, now: Instant) -> None:
        assert self.deadline is not None
        self.ticks.append(now)
        self.late.append(now - self.deadline)
        following = self.then(self.deadline)
        self.deadline = None if following is None else Instant(following)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


@in_virtual_time
async def test_a_call_alone_is_woken_on_the_millisecond() -> None:
    wheel = PacingWheel()
    call = Call(START + 0.02)
    wheel.watch(call)
    await asyncio.sleep(10.001)
    wheel.forget(call)
    assert len(call.ticks) == 500
    assert max(call.late) < 1e-6
    assert min(call.late) >= 0


@in_virtual_time
async def test_never_early_and_at_most_a_slot_late_and_never_drifting() -> None:
    wheel = PacingWheel()
    calls = [Call(START + 0.02 + phase * 0.00013) for phase in range(150)]
    for call in calls:
        wheel.watch(call)
    await asyncio.sleep(10.05)
    for call in calls:
        wheel.forget(call)
        assert len(call.ticks) in {500, 501, 502}
        assert min(call.late) >= 0
        assert max(call.late) < SLOT_S + 0.001
    assert wheel.lateness.count == sum(len(call.ticks) for call in calls)
    assert wheel.lateness.max_ms < 6


@in_virtual_time
async def test_many_calls_share_one_timer() -> None:
    wheel = PacingWheel()
    loop = asyncio.get_running_loop()
    calls = [Call(START + 0.02 + phase * 0.0001) for phase in range(200)]
    for call in calls:
        wheel.watch(call)
    await asyncio.sleep(1)
    woken = {at for call in calls for at in call.ticks}
    assert len(woken) <= 1 / SLOT_S + 1
    scheduled: list[asyncio.TimerHandle] = getattr(loop, "_scheduled")  # noqa: B009
    assert len([handle for handle in scheduled if not handle.cancelled()]) == 1
    for call in calls:
        wheel.forget(call)


@in_virtual_time
async def test_an_earlier_deadline_is_kept_and_a_later_one_costs_no_tick() -> None:
    wheel = PacingWheel()
    call = Call(START + 10, then=lambda _: None)
    wheel.watch(call)
    call.deadline = Instant(START + 1)
    wheel.rearm(call)
    await asyncio.sleep(2)
    assert call.ticks == [pytest.approx(START + 1, abs=0.0011)]
    call.deadline = Instant(START + 3)
    wheel.rearm(call)
    call.deadline = Instant(START + 4)
    wheel.rearm(call)
    await asyncio.sleep(5)
    assert call.ticks[1:] == [pytest.approx(START + 4, abs=0.0011)]
    assert call.late[1] < 0.0011


@in_virtual_time
async def test_no_deadline_means_no_tick_until_there_is_one() -> None:
    wheel = PacingWheel()
    call = Call(START + 1, then=lambda _: None)
    wheel.watch(call)
    call.deadline = None
    wheel.rearm(call)
    await asyncio.sleep(100)
    assert call.ticks == []
    call.deadline = clock.now()
    wheel.rearm(call)
    await asyncio.sleep(0.01)
    assert len(call.ticks) == 1


@in_virtual_time
async def test_a_forgotten_call_is_left_alone() -> None:
    wheel = PacingWheel()
    call, other = Call(START + 0.02), Call(START + 0.02)
    wheel.watch(call)
    wheel.watch(other)
    await asyncio.sleep(0.05)
    wheel.forget(call)
    wheel.forget(call)
    before = len(call.ticks)
    wheel.rearm(call)
    await asyncio.sleep(1)
    assert len(call.ticks) == before
    assert len(other.ticks) == pytest.approx(52, abs=1)
    assert len(wheel) == 1
    wheel.forget(other)
    assert len(wheel) == 0


@in_virtual_time
async def test_a_call_may_leave_or_bring_others_inside_its_tick() -> None:
    wheel = PacingWheel()
    late_comer = Call(START + 0.03)

    class Leaves(Call):
        def tick(self, now: Instant) -> None:
            super().tick(now)
            wheel.forget(self)
            wheel.watch(late_comer)

    call = Leaves(START + 0.02)
    wheel.watch(call)
    await asyncio.sleep(0.1)
    assert len(call.ticks) == 1
    assert len(late_comer.ticks) == 4
    wheel.forget(late_comer)


@in_virtual_time
async def test_one_failing_call_disturbs_no_other() -> None:
    wheel = PacingWheel()

    class Fails(Call):
        def tick(self, now: Instant) -> None:
            super().tick(now)
            raise ZeroDivisionError

    class FailsTwice(Fails):
        def failed(self, error: Exception) -> None:
            super().failed(error)
            raise RuntimeError("and again")

    sound = Call(START + 0.02)
    failing, hopeless = Fails(START + 0.02), FailsTwice(START + 0.02)
    for call in (failing, hopeless, sound):
        wheel.watch(call)
    await asyncio.sleep(1.005)
    assert len(sound.ticks) == 50
    assert len(failing.ticks) == len(failing.errors) == 50
    assert len(hopeless.ticks) == 1
    assert len(wheel) == 2
    wheel.forget(sound)
    wheel.forget(failing)


@in_virtual_time
async def test_a_call_that_does_not_move_on_cannot_hold_the_loop() -> None:
    wheel = PacingWheel()
    stubborn = Call(START + 0.02, then=lambda at: at)
    sound = Call(START + 0.02)
    wheel.watch(stubborn)
    wheel.watch(sound)
    await asyncio.sleep(1.001)
    assert len(stubborn.ticks) <= 1 / SLOT_S + 1
    assert len(sound.ticks) == pytest.approx(50, abs=1)
    wheel.forget(stubborn)
    wheel.forget(sound)


@in_virtual_time
async def test_nor_can_one_that_asks_for_it_again_and_again() -> None:
    wheel = PacingWheel()

    class Rearms(Call):
        def tick(self, now: Instant) -> None:
            super().tick(now)
            wheel.rearm(self)
            wheel.rearm(sound)

    stubborn = Rearms(START + 0.02, then=lambda at: at)
    sound = Call(START + 0.02)
    wheel.watch(stubborn)
    wheel.watch(sound)
    await asyncio.sleep(1.001)
    assert len(stubborn.ticks) <= 1 / SLOT_S + 1
    assert len(sound.ticks) == pytest.approx(50, abs=1)
    assert max(sound.late) < SLOT_S + 0.001
    wheel.forget(stubborn)
    wheel.forget(sound)


@in_virtual_time
async def test_a_deadline_that_cannot_be_read_is_that_calls_fault() -> None:
    wheel = PacingWheel()

    class Unreadable(Call):
        broken = False

        @property
        def deadline(self) -> Instant | None:
            if self.broken:
                raise LookupError("no deadline")
            return self.at

        @deadline.setter
        def deadline(self, at: Instant | None) -> None:
            self.at = at

        def tick(self, now: Instant) -> None:
            super().tick(now)
            self.broken = True

    call, sound = Unreadable(START + 0.02), Call(START + 0.02)
    wheel.watch(call)
    wheel.watch(sound)
    await asyncio.sleep(0.101)
    assert [type(error) for error in call.errors] == [LookupError]
    assert len(sound.ticks) == 5
    wheel.forget(call)
    wheel.forget(sound)


@in_virtual_time
async def test_the_same_call_watched_twice_is_woken_once() -> None:
    wheel = PacingWheel()
    call = Call(START + 0.02, then=lambda _: None)
    wheel.watch(call)
    wheel.watch(call)
    await asyncio.sleep(1)
    assert len(call.ticks) == 1
    wheel.forget(call)


def test_lateness_counts_what_it_was_given() -> None:
    lateness = Lateness()
    assert (lateness.count, lateness.max_ms, lateness.percentile_ms(99)) == (0, 0, 0)
    for late_ms in range(100):
        lateness.add(late_ms / 1000)
    assert lateness.count == 100
    assert lateness.max_ms == pytest.approx(99)
    assert lateness.percentile_ms(50) == pytest.approx(49.25)
    assert lateness.percentile_ms(99) == pytest.approx(98.25)
    lateness.add(7.0)
    lateness.add(-0.0001)
    assert lateness.percentile_ms(100) == pytest.approx(100.25)
    assert lateness.max_ms == pytest.approx(7000)
    lateness.reset()
    assert (lateness.count, lateness.max_ms) == (0, 0)
