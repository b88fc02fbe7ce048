"""Schedules, on a clock that jumps: days pass in milliseconds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from getpatter import scheduler
from getpatter.runtime import clock
from getpatter.scheduler import schedule_cron, schedule_interval, schedule_once
from getpatter.testing.time import in_virtual_time

HOUR = 3600.0
DAY = 24 * HOUR


def today(timezone: ZoneInfo | None = None) -> datetime:
    return datetime.fromtimestamp(clock.wall(), tz=timezone or UTC)


class Diary:
    """When it was called."""

    def __init__(self, takes_s: float = 0, error: Exception | None = None) -> None:
        self.at: list[datetime] = []
        self._takes_s = takes_s
        self._error = error

    async def __call__(self) -> None:
        self.at.append(today())
        await asyncio.sleep(self._takes_s)
        if self._error is not None:
            raise self._error


@in_virtual_time
async def test_once_is_once_and_on_time() -> None:
    diary = Diary()
    due = today() + timedelta(hours=30, seconds=1.5)
    handle = schedule_once(due, diary)
    assert handle.pending
    await asyncio.sleep(3 * DAY)
    assert diary.at == [due]
    assert not handle.pending


@in_virtual_time
async def test_a_naive_datetime_is_local_time() -> None:
    diary = Diary()
    due = datetime.fromtimestamp(clock.wall() + 60)  # noqa: DTZ006 - what is tested
    schedule_once(due, diary)
    await asyncio.sleep(61)
    assert [at.timestamp() for at in diary.at] == [due.timestamp()]


@in_virtual_time
async def test_a_plain_function_runs_too() -> None:
    seen: list[int] = []
    schedule_once(today() + timedelta(seconds=1), lambda: seen.append(1))
    await asyncio.sleep(2)
    assert seen == [1]


@in_virtual_time
async def test_cron_runs_on_the_days_that_match_and_no_others() -> None:
    diary = Diary()
    handle = schedule_cron("30 9 * * MON-FRI", diary, timezone=ZoneInfo("UTC"))
    await asyncio.sleep(7 * DAY)  # from Thursday 2026-01-01
    handle.cancel()
    assert [at.strftime("%a %H:%M:%S") for at in diary.at] == [
        f"{day} 09:30:00" for day in ("Thu", "Fri", "Mon", "Tue", "Wed")
    ]


@in_virtual_time
async def test_sunday_is_0_as_everywhere_but_in_some_libraries() -> None:
    diary = Diary()
    schedule_cron("0 12 * * 0", diary, timezone=ZoneInfo("UTC"))
    await asyncio.sleep(14 * DAY)
    assert [at.strftime("%a %d") for at in diary.at] == ["Sun 04", "Sun 11"]


@in_virtual_time
async def test_a_daily_run_keeps_its_hour_when_the_clocks_change() -> None:
    rome = ZoneInfo("Europe/Rome")
    diary = Diary()
    await asyncio.sleep((datetime(2026, 3, 28, 12, tzinfo=rome) - today()).total_seconds())
    schedule_cron("0 9 * * *", diary, timezone=rome)
    await asyncio.sleep(2 * DAY)  # the clocks go forward on the 29th
    assert [at.astimezone(rome).strftime("%d %H:%M") for at in diary.at] == ["29 09:00", "30 09:00"]
    assert diary.at[0].hour == 7, "UTC: the first is already in summer time"


@in_virtual_time
async def test_an_interval_does_not_drift() -> None:
    diary = Diary(takes_s=3)
    handle = schedule_interval(10, diary)
    started = today()
    await asyncio.sleep(35)
    handle.cancel()
    await asyncio.sleep(60)
    assert [(at - started).total_seconds() for at in diary.at] == [10, 20, 30]


@in_virtual_time
async def test_a_run_that_would_overlap_is_skipped_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary = Diary(takes_s=25)
    started = today()
    schedule_interval(10, diary)
    await asyncio.sleep(65)
    assert [(at - started).total_seconds() for at in diary.at] == [10, 40]
    assert caplog.text.count("schedule.skipped") == 4


@in_virtual_time
async def test_what_a_callback_raises_is_logged_and_the_schedule_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary = Diary(error=RuntimeError("no line"))
    schedule_interval(10, diary)
    await asyncio.sleep(25)
    assert len(diary.at) == 2
    assert caplog.text.count("schedule.failed") == 2
    assert "RuntimeError" in caplog.text
    assert "no line" not in caplog.text  # it may quote a caller


@in_virtual_time
async def test_cancel_is_idempotent_and_lets_a_run_finish() -> None:
    finished: list[bool] = []

    async def slow() -> None:
        await asyncio.sleep(5)
        finished.append(True)

    handle = schedule_interval(10, slow)
    await asyncio.sleep(11)
    handle.cancel()
    handle.cancel()
    await asyncio.sleep(30)
    assert finished == [True]
    assert not handle.pending


@in_virtual_time
async def test_shutdown_stops_everything_what_runs_too() -> None:
    diary = Diary(takes_s=HOUR)
    finished: list[bool] = []

    async def slow() -> None:
        await asyncio.sleep(HOUR)
        finished.append(True)

    handles = [schedule_interval(10, diary), schedule_once(today() + timedelta(seconds=1), slow)]
    await asyncio.sleep(15)
    scheduler.shutdown()
    scheduler.shutdown()
    await asyncio.sleep(2 * HOUR)
    assert len(diary.at) == 1
    assert not finished
    assert not any(handle.pending for handle in handles)


@in_virtual_time
async def test_mistakes_are_found_at_once() -> None:
    with pytest.raises(ValueError, match="is over"):
        schedule_once(today() - timedelta(seconds=1), print)
    for wrong in ("* * * *", "61 * * * *", "tomorrow", "0 0 31 2 *", "* * * * * *"):
        with pytest.raises(ValueError, match="cron"):
            schedule_cron(wrong, print)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive"):
            schedule_interval(seconds, print)
    with pytest.raises(TypeError, match="number"):
        schedule_interval("10", print)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="datetime"):
        schedule_once("10:00", print)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="function"):
        schedule_interval(10, None)  # type: ignore[arg-type]  # what is tested


def test_without_an_event_loop_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        schedule_interval(10, print)
