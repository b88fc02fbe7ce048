"""A tunnel that ends by itself is started again, patiently but not for ever without a word; in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from getpatter.errors import PatterConnectionError
from getpatter.testing.time import in_virtual_time
from getpatter.tunnels import Tunnel, keep_up

if TYPE_CHECKING:
    import pytest


class Frail:
    """A tunnel that lives for `life` seconds and fails to start as often as it is told."""

    is_started_here: ClassVar[bool] = True
    client_header: ClassVar[str] = ""

    def __init__(self, *, life: float, failures: int = 0, retryable: bool = True) -> None:
        self.hostname = "first.example"
        self.failures = failures
        self.starts: list[float] = []
        self._life = life
        self._made_at = asyncio.get_running_loop().time()
        self._retryable = retryable

    async def start(self, port: int) -> str:
        self.starts.append(asyncio.get_running_loop().time() - self._made_at)
        if self.failures:
            self.failures -= 1
            raise PatterConnectionError("no route", retryable=self._retryable)
        self.hostname = f"start-{len(self.starts)}.example:{port}"
        return self.hostname

    async def lost(self) -> None:
        await asyncio.sleep(self._life)

    async def stop(self) -> None:
        """Nothing to end."""


async def watched(tunnel: Frail, seconds: float) -> list[str]:
    """The names that were told in so many seconds."""
    names: list[str] = []

    async def moved(host: str) -> None:
        names.append(host)

    checked: Tunnel = tunnel
    keeping = asyncio.create_task(keep_up(checked, 8000, moved))
    await asyncio.wait({keeping}, timeout=seconds)
    keeping.cancel()
    await asyncio.wait({keeping})
    return names


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]


@in_virtual_time
async def test_each_end_is_followed_by_a_start_and_its_name() -> None:
    names = await watched(Frail(life=100.0), 250.0)
    assert names == ["start-1.example:8000", "start-2.example:8000"]


@in_virtual_time
async def test_one_that_dies_at_once_is_started_ever_more_seldom() -> None:
    tunnel = Frail(life=0.0)
    await watched(tunnel, 400.0)
    waits = [
        round(later - sooner)
        for sooner, later in zip([0.0, *tunnel.starts], tunnel.starts, strict=False)
    ]
    assert waits[:8] == [1, 2, 5, 10, 30, 60, 60, 60]


@in_virtual_time
async def test_one_that_lived_well_is_back_within_a_second() -> None:
    tunnel = Frail(life=3600.0)
    await watched(tunnel, 3 * 3600.0 + 100)
    assert [round(at % 3600) for at in tunnel.starts] == [1, 2, 3]


@in_virtual_time
async def test_one_that_does_not_come_back_is_tried_on_and_a_person_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = await watched(Frail(life=3600.0, failures=20), 3600.0 + 2000.0)
    assert names == ["start-21.example:8000"]
    said = errors(caplog)
    assert [text.split()[0] for text in said] == ["tunnel.lost", "tunnel.gone", "tunnel.moved"]
    assert "outcome=still_trying reason=no route" in said[1]
    assert "webhook_url=" in said[1]


@in_virtual_time
async def test_one_that_cannot_come_back_is_given_up_with_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tunnel = Frail(life=10.0, failures=9, retryable=False)
    assert await watched(tunnel, 1000.0) == []
    assert len(tunnel.starts) == 1
    assert "outcome=gave_up reason=no route" in errors(caplog)[-1]
