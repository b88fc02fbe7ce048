"""Every scenario of `benchmarks.carriers`, over real sockets: each carrier is whole, or a row says where not."""

from __future__ import annotations

import pytest

from benchmarks._stage import CARRIERS
from benchmarks.carriers import run, wanted
from getpatter.testing import time as virtual_time


@pytest.mark.parametrize("carrier", sorted(CARRIERS))
def test_every_scenario_ends_as_it_must(carrier: str) -> None:
    ways = CARRIERS[carrier]
    found = virtual_time.run(run(ways, wanted(ways, [])))
    assert not [f"{row.name}: {row.reason}" for row in found.rows if not row.has_passed]
    requests = found.requests
    assert not requests.problems
    if requests.source:
        assert requests.valid > requests.made / 2
        assert requests.unknown == 0


def test_a_scenario_that_goes_wrong_is_told() -> None:
    ways = CARRIERS["twilio"]
    [scenario] = wanted(ways, ["inbound: answered"])
    broken = type(scenario)(scenario.name, scenario.play, agent={"first_message": "Who is there?"})
    found = virtual_time.run(run(ways, [broken]))
    [row] = found.rows
    assert not row.has_passed
    assert "transcript" in row.reason
