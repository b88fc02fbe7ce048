"""What holds the loop is named."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from getpatter.runtime.watchdog import Held, LoopWatchdog, place_of
from getpatter.testing.time import in_virtual_time

if TYPE_CHECKING:
    import pytest


def hold_the_loop(seconds: float) -> None:
    """Blocks its thread: the one thing that nobody may do."""
    threading.Event().wait(seconds)


async def _watched(seconds: float, *, times: int = 1) -> tuple[LoopWatchdog, list[Held]]:
    seen: list[Held] = []
    watchdog = LoopWatchdog(on_held=seen.append)
    watchdog.start()
    for _ in range(times):
        await asyncio.sleep(0)
        hold_the_loop(seconds)
        reported = len(seen)
        while len(seen) == reported:
            await asyncio.sleep(0)
    watchdog.stop()
    return watchdog, seen


async def test_a_function_that_holds_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    watchdog, seen = await _watched(0.15)
    held = max(seen, key=lambda each: each.ms)
    assert held.at == f"{__name__}:hold_the_loop"
    assert held.ms >= 130
    assert watchdog.worst_ms == held.ms
    assert any(
        record.getMessage() == f"loop.held ms={int(held.ms)} at={held.at}"
        for record in caplog.records
    )


async def test_the_log_names_a_place_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    watchdog, seen = await _watched(0.12, times=3)
    named = [
        record for record in caplog.records if f"at={__name__}:hold_the_loop" in record.getMessage()
    ]
    assert len(named) == 1
    assert watchdog.count == len(seen) >= 3


async def test_it_can_be_stopped_and_started_again() -> None:
    watchdog = LoopWatchdog()
    watchdog.stop()
    watchdog.start()
    watchdog.start()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("getpatter watchdog") == 1
    watchdog.stop()
    watchdog.stop()
    assert "getpatter watchdog" not in [thread.name for thread in threading.enumerate()]
    watchdog.start()
    assert "getpatter watchdog" in [thread.name for thread in threading.enumerate()]
    watchdog.stop()
    assert not watchdog.is_running


@in_virtual_time
async def test_virtual_time_is_not_watched() -> None:
    watchdog = LoopWatchdog()
    watchdog.start()
    assert not watchdog.is_running


def test_the_standard_library_is_not_to_blame() -> None:
    frames: list[FrameType] = []

    class Spy(json.JSONEncoder):
        def default(self, o: object) -> str:
            frame = sys._getframe().f_back
            assert frame is not None
            frames.append(frame)
            return ""

    json.dumps({"a": object()}, cls=Spy)
    assert frames[0].f_globals["__name__"].startswith("json")
    assert place_of(frames[0]).endswith(":test_the_standard_library_is_not_to_blame")
