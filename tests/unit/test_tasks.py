"""A task has an owner: it ends when the owner does, and its failure is seen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from getpatter.errors import CallEndedError
from getpatter.runtime.tasks import TaskNest
from getpatter.testing.time import START, in_virtual_time


@in_virtual_time
async def test_closing_ends_every_task_and_waits_for_it() -> None:
    ended: list[int] = []

    async def work(n: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.5)
            ended.append(n)

    nest = TaskNest("call-1")
    for n in range(3):
        nest.spawn(work(n), f"work-{n}")
    await asyncio.sleep(1)
    assert len(nest) == 3
    assert await nest.close() == ()
    assert sorted(ended) == [0, 1, 2]
    assert len(nest) == 0
    assert asyncio.get_running_loop().time() == START + 1.5
    assert await nest.close() == ()


@in_virtual_time
async def test_what_will_not_end_is_named_in_bounded_time(caplog: pytest.LogCaptureFixture) -> None:
    may_end = False

    async def stubborn() -> None:
        while not may_end:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    nest = TaskNest("call-1")
    nest.spawn(stubborn(), "stubborn")
    await asyncio.sleep(0)
    assert await nest.close(timeout=3) == ("call-1:stubborn",)
    assert asyncio.get_running_loop().time() == START + 3
    assert "task.would_not_end task=call-1:stubborn" in caplog.text
    may_end = True
    await asyncio.sleep(2)
    assert len(nest) == 0


@in_virtual_time
async def test_a_failure_is_reported_and_the_others_go_on() -> None:
    seen: list[tuple[str, BaseException]] = []
    nest = TaskNest("call-1", on_error=lambda name, error: seen.append((name, error)))

    async def fails() -> None:
        raise ZeroDivisionError

    async def works() -> int:
        await asyncio.sleep(1)
        return 7

    nest.spawn(fails(), "fails")
    other = nest.spawn(works(), "works")
    assert await other == 7
    assert [(name, type(error)) for name, error in seen] == [("call-1:fails", ZeroDivisionError)]
    await nest.close()


@in_virtual_time
async def test_a_failure_nobody_asked_about_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("oh")

    async with TaskNest("call-1") as nest:
        nest.spawn(fails(), "fails")
        await asyncio.sleep(1)
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.getMessage() == "task.failed task=call-1:fails"
    assert record.exc_info is not None
    # A look-alike: the log shows class and traceback, not the text.
    assert record.exc_info[0] is not None
    assert record.exc_info[0].__name__ == "ZeroDivisionError"


@in_virtual_time
async def test_nothing_starts_after_the_end() -> None:
    nest = TaskNest("call-1")
    await nest.close()
    with pytest.raises(CallEndedError, match="call-1 is over, so late cannot start"):
        nest.spawn(asyncio.sleep(1), "late")
    assert nest.is_closed


@in_virtual_time
async def test_one_of_its_own_tasks_may_close_it() -> None:
    nest = TaskNest("call-1")

    async def closer() -> tuple[str, ...]:
        return await nest.close()

    other = nest.spawn(asyncio.sleep(100), "other")
    assert await nest.spawn(closer(), "closer") == ()
    assert other.cancelled()
    assert len(nest) == 0
