"""The pytest plugin in a project of somebody else: another process, no other plugin, no network, no extra."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.timeout(60)  # interpreters are started

CONFTEST: Final = '''
"""Nothing may be reached, and no extra is there."""
import sys

for extra in ("pocketsphinx", "espeakng_loader"):
    sys.modules[extra] = None

def _watch(event, args):
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo"}:
        raise PermissionError(event)

sys.addaudithook(_watch)
'''

HEAD: Final = """
import asyncio
import pytest
from getpatter import Agent
from getpatter.testing import Polite, babble
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.pytest_plugin import PhoneSimulation

agent = Agent(
    system_prompt="You are a hairdresser's desk.",
    first_message="Hello, how may I help?",
    stt=ScriptedSTT(["a haircut please"]),
    tts=ScriptedTTS(),
    llm=ScriptedLLM(["When would you like to come?"]),
)
CALLER = Polite("a haircut please", voice=babble)
"""

GOOD: Final = (
    HEAD
    + """
async def test_the_desk_asks_when(phone_simulation: PhoneSimulation) -> None:
    phone = await phone_simulation(agent)
    call = await phone.talk(CALLER)
    assert phone.transcript(call.sid) == [
        ("assistant", "Hello, how may I help?"),
        ("user", "a haircut please"),
        ("assistant", "When would you like to come?"),
    ]

@pytest.fixture
def number():
    return "+15557654321"

class TestInAClass:
    @pytest.mark.parametrize("times", [1, 2])
    async def test_callers_are_told_apart(self, phone_simulation, number, times):
        phone = await phone_simulation(agent, max_concurrent_calls=2)
        calls = [phone.ring(CALLER, from_number=number) for _ in range(times)]
        for call in calls:
            await call.ended()
        assert len({call.sid for call in calls}) == times

@pytest.mark.virtual_time
async def test_an_hour_takes_no_time():
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() - began == 3600

async def test_two_phones_at_once(phone_simulation):
    one, other = await phone_simulation(agent), await phone_simulation(agent)
    first, second = await asyncio.gather(one.talk(CALLER), other.talk(CALLER))
    assert one.transcript(first.sid) == other.transcript(second.sid)
"""
)

BAD: Final = (
    HEAD
    + '''
async def test_fails_as_any_test(phone_simulation):
    phone = await phone_simulation(agent)
    call = await phone.talk(CALLER)
    assert phone.transcript(call.sid) == []

class Loud(ScriptedTTS):
    """Sends a file, header and all."""
    async def synthesize(self, text):
        yield b"RIFF" + bytes(4000)

def loud():
    from dataclasses import replace
    return replace(agent, tts=Loud())

async def test_breaks_the_carriers_rules(phone_simulation):
    phone = await phone_simulation(loud())
    await phone.talk(CALLER)

async def test_breaks_them_on_purpose(phone_simulation):
    phone = await phone_simulation(loud(), problems_expected=True)
    await phone.talk(CALLER)
    assert phone.problems

async def test_leaves_a_task(phone_simulation):
    test_leaves_a_task.kept = asyncio.create_task(asyncio.sleep(9), name="stray dog")

@pytest.mark.virtual_time
async def test_leaves_one_too():
    test_leaves_a_task.kept = asyncio.create_task(asyncio.sleep(9), name="stray cat")

async def test_waits_for_nothing(phone_simulation):
    await asyncio.Event().wait()

def test_is_not_async(phone_simulation):
    pass
'''
)


def run(project: Path, files: dict[str, str], *options: str) -> str:
    """What pytest says of a project with these tests."""
    for name, source in {"conftest.py": CONFTEST, **files}.items():
        (project / name).write_text(source)
    (project / "pytest.ini").write_text("[pytest]\naddopts = -rA --strict-markers\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    ended = subprocess.run(
        command,
        cwd=project,
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return ended.stdout + ended.stderr


OTHERS: Final = ("asyncio", "anyio", "xdist", "timeout", "hypothesispytest")
ALONE: Final = tuple(word for name in OTHERS for word in ("-p", f"no:{name}"))


def test_pytest_finds_it_by_itself() -> None:
    (found,) = entry_points(group="pytest11", name="getpatter")
    assert found.value == "getpatter.testing.pytest_plugin"


def test_loading_it_loads_nothing_else() -> None:
    program = (
        "import sys, pytest, asyncio; before = set(sys.modules); "
        "import getpatter.testing.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout.split()
    heavy = {"numpy", "starlette", "uvicorn", "httpx", "picows", "getpatter.server"}
    assert not heavy & set(said)
    assert {name for name in said if name.startswith("getpatter")} == {
        "getpatter",
        "getpatter._version",
        "getpatter.testing",
        "getpatter.testing.pytest_plugin",
    }


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What it says where no other plugin is."""
    files = {"test_good.py": GOOD, "test_bad.py": BAD}
    return run(tmp_path_factory.mktemp("project"), files, *ALONE)


GOOD_TESTS: Final = (
    "test_the_desk_asks_when",
    "TestInAClass::test_callers_are_told_apart[1]",
    "TestInAClass::test_callers_are_told_apart[2]",
    "test_an_hour_takes_no_time",
    "test_two_phones_at_once",
)


@pytest.mark.parametrize("test", GOOD_TESTS)
def test_calls_are_tested_without_network_or_extras(said: str, test: str) -> None:
    assert f"PASSED test_good.py::{test}\n" in said


def test_a_plugin_that_takes_every_async_test_leaves_ours_alone(tmp_path: Path) -> None:
    said = run(tmp_path, {"test_good.py": GOOD}, "-o", "asyncio_mode=auto")
    assert re.search(rf"^=+ {len(GOOD_TESTS)} passed in", said, re.MULTILINE), said


def why(said: str, test: str) -> str:
    """The section of the report about `test`."""
    found = re.search(
        rf"^_+ (?:ERROR at setup of )?{test} _+$(.*?)^(?:__|==)", said, re.DOTALL | re.MULTILINE
    )
    assert found, said
    return found[1]


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("test_fails_as_any_test", "assert [('assistant'"),
        ("test_breaks_the_carriers_rules", "audio begins with a file header"),
        ("test_leaves_a_task", "stray dog"),
        ("test_leaves_one_too", "stray cat"),
        ("test_waits_for_nothing", "StuckError"),
        ("test_is_not_async", "`async def`"),
    ],
)
def test_what_went_wrong_is_said(said: str, test: str, reason: str) -> None:
    assert reason in why(said, test)


def test_expected_problems_fail_nothing(said: str) -> None:
    assert "PASSED test_bad.py::test_breaks_them_on_purpose" in said


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    said = run(tmp_path, {"test_good.py": GOOD}, *ALONE, "-p", "no:getpatter")
    assert "'virtual_time' not found in `markers`" in said
