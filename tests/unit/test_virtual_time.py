"""Virtual time moves when nothing else can, and never while something real is on its way."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from getpatter.runtime import clock
from getpatter.testing.time import (
    START,
    WALL_START,
    ManualClock,
    StuckError,
    VirtualTimeLoop,
    hold,
    in_virtual_time,
    run,
)
from getpatter.types import Instant


def test_a_manual_clock_stands_still_until_told() -> None:
    ours = ManualClock()
    assert ours.now == START
    assert ours.advance(1.5) == START + 1.5
    assert ours.advance_ms(500) == ours.now == START + 2
    assert ours.advance_to(ours.now) == START + 2


def test_a_manual_clock_never_goes_back() -> None:
    ours = ManualClock(5)
    with pytest.raises(ValueError, match="does not go back"):
        ours.advance(-0.001)
    assert ours.now == 5.0


@in_virtual_time
async def test_a_day_of_sleep_takes_no_time() -> None:
    started = clock.now()
    await asyncio.sleep(86_400)
    assert clock.now() - started == 86_400


@in_virtual_time
async def test_timers_run_in_their_order_and_exactly_when_they_said() -> None:
    loop = asyncio.get_running_loop()
    seen: list[float] = []
    for delay in (0.3, 0.1, 0.2, 0.1):
        loop.call_later(delay, lambda: seen.append(round(loop.time() - START, 9)))
    await asyncio.sleep(1)
    assert seen == [0.1, 0.1, 0.2, 0.3]


@in_virtual_time
async def test_a_timeout_ends_what_takes_too_long_and_nothing_else() -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(4.999)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.sleep(5.001)
    assert clock.now() == pytest.approx(START + 9.999)


@in_virtual_time
async def test_a_cancelled_timer_moves_no_time() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(100, lambda: None).cancel()
    await asyncio.sleep(1)
    assert clock.now() == START + 1


@in_virtual_time
async def test_the_wall_follows() -> None:
    assert clock.wall() == WALL_START
    await asyncio.sleep(3600)
    assert clock.wall() == WALL_START + 3600
    assert clock.precise() == clock.now()


async def test_on_a_real_loop_the_clocks_are_those_of_the_machine() -> None:
    assert clock.now() == pytest.approx(time.monotonic(), abs=30)
    assert clock.precise() == pytest.approx(time.monotonic(), abs=30)
    assert clock.wall() == pytest.approx(time.time(), abs=30)


def test_the_wall_is_known_without_a_loop() -> None:
    assert clock.wall() == pytest.approx(time.time(), abs=30)
    assert clock.precise() == pytest.approx(time.monotonic(), abs=30)


@in_virtual_time
async def test_a_job_in_a_thread_takes_no_virtual_time() -> None:
    may_end = threading.Event()
    rang = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, rang.set_result, None)
    job = asyncio.create_task(asyncio.to_thread(may_end.wait, 5))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not rang.done()
    may_end.set()
    assert await job is True
    assert clock.now() == START
    await rang
    assert clock.now() == START + 0.001


@in_virtual_time
async def test_a_job_that_fails_lets_time_go_on() -> None:
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 // 0)
    await asyncio.sleep(1)
    assert clock.now() == START + 1


@in_virtual_time
async def test_hold_waits_for_what_comes_from_elsewhere() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Instant] = loop.create_future()
    thread = threading.Thread(
        target=lambda: loop.call_soon_threadsafe(lambda: answer.set_result(clock.now()))
    )
    with hold("the other thread"):
        loop.call_later(0.001, thread.join)
        thread.start()
        async with asyncio.timeout(0.001):
            assert await answer == START
    thread.join()


def test_hold_on_a_real_loop_does_nothing() -> None:
    async def scenario() -> int:
        with hold():
            return 1

    assert asyncio.run(scenario()) == 1


def test_waiting_for_nothing_is_an_error_that_says_where() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StuckError, match=r"test_virtual_time\.py:\d+.*wait_for_nothing"):
        run(wait_for_nothing())


def test_a_hold_that_nobody_ends_is_an_error_that_names_it() -> None:
    async def scenario() -> None:
        with hold("the postman"):
            await asyncio.sleep(1)

    with pytest.raises(StuckError, match="the postman"):
        run(scenario(), real_limit=0.05)


def test_tasks_are_cancelled_at_the_end() -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def scenario() -> str:
        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        assert not task.done()
        return "done"

    assert run(scenario()) == "done"
    assert seen == ["cancelled"]


@in_virtual_time
async def test_a_program_is_waited_for_in_real_time() -> None:
    say_hi = "import sys; print(sys.stdin.read() + ' there')"
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        "-c",
        say_hi,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    with hold("the program"):
        async with asyncio.timeout(0.001):
            out, _ = await program.communicate(b"hi")
    assert out.strip() == b"hi there"
    assert program.returncode == 0
    assert clock.now() == START


def test_it_runs_the_same_every_time() -> None:
    async def scenario() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        async def worker(name: str, pause: float) -> None:
            for _ in range(20):
                await asyncio.sleep(pause)
                seen.append((name, clock.now()))

        async with asyncio.TaskGroup() as group:
            for name, pause in (("a", 0.02), ("b", 0.03), ("c", 0.02)):
                group.create_task(worker(name, pause))
        return seen

    assert run(scenario()) == run(scenario())


def test_twenty_thousand_timers_fit_into_a_unit_test() -> None:
    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def again(left: int) -> None:
            if left:
                loop.call_at(loop.time() + 0.02, again, left - 1)
            else:
                done.set_result(1)

        again(20_000)
        return await done

    assert run(scenario()) == 1


def test_a_decorated_test_keeps_its_name_and_arguments() -> None:
    async def scenario(n: int) -> int:
        await asyncio.sleep(1)
        return n

    decorated: Callable[[int], int] = in_virtual_time(scenario)
    assert decorated(3) == 3
    assert decorated.__name__ == "scenario"


def test_the_loop_is_virtual_inside() -> None:
    async def scenario() -> bool:
        return isinstance(asyncio.get_running_loop(), VirtualTimeLoop)

    work: Awaitable[bool] = scenario()
    assert asyncio.iscoroutine(work)
    assert run(work)
