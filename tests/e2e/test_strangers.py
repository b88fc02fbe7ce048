"""Every row of `benchmarks.abuse`: what a stranger sends is refused, sets nothing going, and disturbs no call."""

from __future__ import annotations

import pytest

from benchmarks._abuses import Case
from benchmarks._stage import CARRIERS
from benchmarks.abuse import arena, attacked, run
from getpatter.testing import time as virtual_time


@pytest.mark.parametrize("carrier", sorted(CARRIERS))
def test_strangers_get_nothing_and_a_call_beside_them_is_undisturbed(carrier: str) -> None:
    found = virtual_time.run(run(CARRIERS[carrier]))
    assert not [f"{row.name}: {row.reason}" for row in found.rows if not row.has_passed]
    assert found.refused > 50
    assert not found.good


def test_a_row_that_sets_something_going_is_told() -> None:
    async def play() -> str:
        async with arena(CARRIERS["twilio"]) as place:

            async def admitted() -> str:
                ticket = await place.forge.ticket(place.stage)
                async with place.dial(place.forge.path(ticket)) as client:
                    for frame in place.forge.frames(ticket):
                        await client.send(frame)
                    await client.recv()
                await place.stage.farewell(ticket.call_id)
                return "404"

            return (await attacked(place, Case("let in", lambda _: admitted(), "404"))).reason

    reason = virtual_time.run(play())
    assert "provider connections +1" in reason
    assert "callbacks" in reason
