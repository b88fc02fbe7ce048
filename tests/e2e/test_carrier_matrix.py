"""Every scenario of `benchmarks.carriers`, over real sockets: each carrier is whole, or a row says where not."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks._official import judged
from benchmarks._stage import CARRIERS
from benchmarks.carriers import run, wanted
from getpatter.testing import plivo_api, telnyx_api, twilio_api
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


@pytest.mark.parametrize(
    ("carrier", "request_made"),
    [
        (
            "twilio",
            twilio_api.ApiRequest(
                "POST /Calls.json", "", {"To": ["+1"], "From": ["+1"], "Novelty": ["1"]}, 201
            ),
        ),
        (
            "twilio",
            twilio_api.ApiRequest(
                "POST /Calls.json", "", {"To": ["+1"], "From": ["+1"], "TimeLimit": ["soon"]}, 201
            ),
        ),
        (
            "telnyx",
            telnyx_api.ApiRequest("POST /calls/{id}/actions/hangup", "", {"novelty": 1}, 200),
        ),
        ("telnyx", telnyx_api.ApiRequest("POST /calls/{id}/actions/speak", "", {}, 200)),
        (
            "telnyx",
            telnyx_api.ApiRequest("PATCH /call_control_applications/{id}", "", {"novelty": 1}, 200),
        ),
        ("plivo", plivo_api.ApiRequest("POST /Call/{id}/Record/", "", {"novelty": 1}, 202)),
        ("plivo", plivo_api.ApiRequest("GET /Call/{id}/", "", {"novelty": 1}, 200)),
    ],
)
def test_a_request_that_the_vendor_would_not_know_is_told(carrier: str, request_made: Any) -> None:
    opinion = judged(carrier, [request_made])
    if not opinion.source:
        pytest.skip("no specification at hand")
    assert (opinion.made, opinion.valid) == (1, 0)
    assert opinion.problems
