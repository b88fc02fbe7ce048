"""Keys, card numbers and phone numbers are where the documentation says, and nowhere else: `benchmarks.canary`."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from benchmarks._canary import DOCUMENTED, NAMES, SPOKEN, Canary, Haul, Kind, Place
from benchmarks._stage import CARRIERS
from benchmarks.canary import ABSENT, EXPECTED, LEAKED, verdicts

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("carrier", sorted(CARRIERS))
def test_nothing_is_where_it_must_not_be(carrier: str) -> None:
    # A process of its own: everything that can log, logs, and OpenTelemetry is set up once in a process.
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.canary", "--carrier", carrier, "--json"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert not found["problems"]
    table = found["rows"]
    assert set(table) == {place.value for place in Place}
    leaks = {
        (place, name): verdict
        for place, row in table.items()
        for name, verdict in row.items()
        if verdict not in {ABSENT, EXPECTED}
    }
    assert not leaks
    # It looked where there was something to see: what is documented as present was found.
    seen = {(place, name) for place, row in table.items() for name in row if row[name] == EXPECTED}
    documented = {(place.value, name) for place, names in DOCUMENTED.items() for name in names}
    missing = documented - seen
    assert missing <= {(Place.STORE.value, "number of the transfer")}
    assert found["tokens"] >= 8
    empty = {place for place, texts in found["searched"].items() if not texts}
    assert not empty


SECRET = Canary("a key", "wren/Kq8+Zt5 x")
CARD = Canary("a card", "4929 1188 0027 3366", Kind.DIGITS)
NUMBER = Canary("a number", "+15550009876", Kind.NUMBER)


@pytest.mark.parametrize(
    ("canary", "text"),
    [
        (SECRET, f"authorization: Bearer {SECRET.text}"),
        (SECRET, f"?key={quote(SECRET.text, safe='')}&x=1"),
        (SECRET, base64.b64encode(f"user:{SECRET.text}".encode()).decode()),
        (SECRET, base64.b64encode(f"users:{SECRET.text}".encode()).decode()),
        (SECRET, base64.urlsafe_b64encode(f"a:{SECRET.text}!".encode()).decode()),
        (SECRET, SECRET.text.encode().hex()),
        (CARD, "4929118800273366"),
        (CARD, "4929-1188-0027-3366"),
        (CARD, "4929%201188%200027%203366"),
        (CARD, "4 9 2 9 1 1 8 8 0 0 2 7 3 3 6 6"),
        (CARD, base64.b64encode(b"card 4929118800273366").decode()),
        (NUMBER, "from 15550009876"),
        (NUMBER, "(555) 000-9876"),
        (NUMBER, "%2B15550009876"),
    ],
)
def test_a_canary_is_found_in_every_dress(canary: Canary, text: str) -> None:
    assert canary.is_in(text)


@pytest.mark.parametrize(
    ("canary", "text"),
    [(NUMBER, "***9876"), (CARD, "***3366"), (SECRET, "wren"), (CARD, "4929 1188 0027")],
)
def test_a_masked_one_is_none(canary: Canary, text: str) -> None:
    assert not canary.is_in(text)


def test_a_leak_is_told_with_what_it_stands_in() -> None:
    haul = Haul()
    haul.add(Place.OUR_LOG, f"call.said text={SPOKEN.text}")
    haul.add(Place.TRANSCRIPT, SPOKEN.text)
    table = verdicts(haul)
    assert table[Place.OUR_LOG.value][SPOKEN.name] == f"{LEAKED}: call.said text={SPOKEN.text}"
    assert table[Place.TRANSCRIPT.value][SPOKEN.name] == EXPECTED
    assert table[Place.METADATA.value] == dict.fromkeys(NAMES, ABSENT)
