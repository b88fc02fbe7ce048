"""What `tests/conftest.py` promises about every test: kind, limit, closed sockets, no task left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
SETTINGS: Final = """
[pytest]
addopts = --import-mode=importlib -p no:cacheprovider -p no:xdist -rA
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
timeout_func_only = true
markers =
  unit
  e2e
"""

FAST: Final = """
import asyncio, socket, time

async def test_leaves_a_task():
    test_leaves_a_task.kept = asyncio.create_task(asyncio.sleep(9), name="stray dog")

async def test_awaits_its_task():
    await asyncio.create_task(asyncio.sleep(0))

async def test_connects():
    await asyncio.open_connection("127.0.0.1", 9)

async def test_listens():
    await asyncio.start_server(print, "127.0.0.1", 0)

def test_looks_up_a_name():
    socket.getaddrinfo("example.com", 80)

def test_sends_a_datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.sendto(b"", ("127.0.0.1", 9))

def test_takes_too_long():
    time.sleep(20)
"""

SLOW: Final = """
import asyncio

async def test_may_listen():
    server = await asyncio.start_server(print, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
"""

pytestmark = pytest.mark.timeout(60)  # interpreters are started, and one test waits for its limit


def _run(project: Path, files: dict[str, str]) -> str:
    """What pytest prints for a small project with these tests and our conftest."""
    for place, source in files.items():
        file = project / "tests" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    shutil.copy(TESTS / "conftest.py", project / "tests")
    (project / "pytest.ini").write_text(SETTINGS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "tests"],
        cwd=project,
        env=os.environ | {"GETPATTER_TEST_SLOWNESS": "1"},
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    files = {"unit/test_fast.py": FAST, "e2e/test_slow.py": SLOW}
    return _run(tmp_path_factory.mktemp("project"), files)


def _why(said: str, test: str) -> str:
    """The section of the report about `test`."""
    found = re.search(
        rf"^_+ (?:ERROR at \w+ of )?{test} _+$(.*?)^(?:__|==)", said, re.DOTALL | re.MULTILINE
    )
    assert found, said
    return found[1]


def test_a_test_without_a_kind_stops_the_collection(tmp_path: Path) -> None:
    said = _run(tmp_path, {"odds_and_ends/test_a.py": "def test_a(): pass\n"})
    assert "a test needs a kind" in said
    assert "passed" not in said


def test_a_task_left_behind_is_named(said: str) -> None:
    why = _why(said, "test_leaves_a_task")
    assert "1 task(s) still running" in why
    assert "name='stray dog'" in why


def test_a_task_that_is_awaited_is_no_leak(said: str) -> None:
    assert "PASSED tests/unit/test_fast.py::test_awaits_its_task" in said


@pytest.mark.parametrize(
    "test",
    ["test_connects", "test_listens", "test_looks_up_a_name", "test_sends_a_datagram"],
)
def test_a_fast_test_cannot_reach_out(said: str, test: str) -> None:
    assert "a fast test opens no socket" in _why(said, test)


def test_an_end_to_end_test_may_listen(said: str) -> None:
    assert "PASSED tests/e2e/test_slow.py::test_may_listen" in said


def test_a_slow_unit_test_is_cut(said: str) -> None:
    assert "Timeout (>1.0s)" in _why(said, "test_takes_too_long")


def test_tests_are_counted_by_kind(said: str) -> None:
    assert re.search(r"^by kind: e2e 1 in .*, unit 7 in ", said, re.MULTILINE)
