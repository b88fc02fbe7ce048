"""Every Python example of the seed documents runs as it was written.

The documents are part of the specification, which is kept beside the checkout, not in it. Without them
these tests are skipped; with them none is.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Final

import pytest

from tests.seeds_support import scenarios
from tests.seeds_support.extract import (
    PLACES,
    SEEDS,
    Example,
    parses,
    python_like_lines,
    seed_examples,
)
from tests.seeds_support.stage import Stage, until_it_listens

needs_seeds: Final = pytest.mark.skipif(
    not SEEDS.is_dir(),
    reason="the specification (../shared/spec/seeds) is not beside this checkout",
)


def _parameter(name: str) -> object:
    missing = scenarios.NOT_YET.get(name)
    if missing is None:
        return name
    mark = pytest.mark.xfail(strict=True, reason=missing.reason, raises=missing.raises)
    return pytest.param(name, marks=mark)


@needs_seeds
@pytest.mark.parametrize("name", [_parameter(place.name) for place in PLACES])
def test_example_runs_as_written(name: str, tmp_path: Path) -> None:
    example = next(example for example in seed_examples() if example.name == name)
    scenario = scenarios.SCENARIOS[name]
    with Stage(tmp_path, scenarios.SETTINGS) as stage:
        scenario(example, stage)


@needs_seeds
def test_no_example_is_forgotten() -> None:
    examples = seed_examples()
    for document in sorted(SEEDS.glob("*.txt")):
        taken = {
            number
            for example in examples
            if example.document == document.name
            for number in range(example.first_line, example.last_line + 1)
        }
        text = document.read_text(encoding="utf-8")
        strays = [(number, line) for number, line in python_like_lines(text) if number not in taken]
        assert not strays, f"{document.name}: Python outside the examples of PLACES: {strays}"


@needs_seeds
def test_examples_are_whole_and_verbatim() -> None:
    for example in seed_examples():
        lines = (SEEDS / example.document).read_text(encoding="utf-8").split("\n")
        assert "\n".join(lines[example.first_line - 1 : example.last_line]) == example.source
        assert parses(example.source)


def test_names_are_unique_and_all_known() -> None:
    names = [place.name for place in PLACES]
    assert len(set(names)) == len(names)
    assert set(scenarios.NOT_YET) <= set(names), "an example of NOT_YET is not in PLACES"
    assert set(scenarios.SCENARIOS) <= set(names)
    assert set(names) == set(scenarios.NOT_YET) | set(scenarios.SCENARIOS)


# ---------------------------------------------------------------------------------------- the stage

_SERVER: Final = """
import asyncio, os
from dotenv import load_dotenv

del os.environ["ANSWER"]
load_dotenv()
served = []

async def answer(reader, writer):
    writer.write(os.environ["ANSWER"].encode())
    writer.close()
    await writer.wait_closed()
    served.append(1)

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", int(os.environ["PORT"]))
    async with server:
        await server.serve_forever()

asyncio.run(main())
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_program_that_serves_is_driven_and_then_stopped_by_ctrl_c(tmp_path: Path) -> None:
    port = _free_port()
    heard: list[bytes] = []

    async def world() -> None:
        await until_it_listens(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        heard.append(await reader.read())
        writer.close()
        await writer.wait_closed()

    example = Example("server", _SERVER, "here", 1)
    with Stage(tmp_path, {"PORT": str(port), "ANSWER": "hello"}) as stage:
        names = stage.run_while(example, world)
    assert heard == [b"hello"]
    assert names["served"] == [1, 1]


def test_what_fails_in_the_world_fails_the_test(tmp_path: Path) -> None:
    port = _free_port()

    async def world() -> None:
        await until_it_listens(port)
        message = "the caller heard nothing"
        raise AssertionError(message)

    example = Example("server", _SERVER, "here", 1)
    with (
        Stage(tmp_path, {"PORT": str(port), "ANSWER": "hello"}) as stage,
        pytest.raises(AssertionError, match="heard nothing"),
    ):
        stage.run_while(example, world)


def test_the_stage_hides_and_restores_the_developers_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "a real one")
    monkeypatch.setenv("PATTER_LOG_DIR", "somewhere")
    before = dict(os.environ)
    with Stage(tmp_path, {"PHONE_NUMBER": "+15550001234"}):
        assert "TWILIO_AUTH_TOKEN" not in os.environ
        assert "PATTER_LOG_DIR" not in os.environ
        assert os.environ["PHONE_NUMBER"] == "+15550001234"
        assert Path.cwd() == tmp_path.resolve()
    assert dict(os.environ) == before


async def test_an_example_may_await_at_its_top(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        example = Example("waits", "import asyncio\nawait asyncio.sleep(0)\ndone = True", "here", 1)
        assert (await stage.play(example))["done"] is True
