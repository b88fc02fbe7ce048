"""What holds for every test: its kind, its limits, closed sockets, no task left behind.

The kind of a test is the folder that it stands in (or its file, for the few at the top), and a test
that has none stops the collection. The fast kinds run with sockets closed and a limit of one second.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT: Final = Path(__file__).parent

KINDS: Final = frozenset(
    {"unit", "contract", "properties", "sim", "e2e", "browser", "soak", "fuzz", "live"}
    | {"docs", "examples", "seeds"}
)
KIND_OF_FILE: Final = {
    "test_docs.py": "docs",
    "test_examples.py": "examples",
    "test_seeds.py": "seeds",
}
SOCKETS_CLOSED: Final = frozenset({"unit", "contract", "properties", "sim"})
LIMIT_S: Final = {"unit": 1, "contract": 1, "sim": 1, "properties": 10, "soak": 3600, "fuzz": 3600}
"""Seconds a test may take. A property is 200 examples of a test, hence its ten."""


SPECIFICATIONS: Final = ROOT.parent.parent / "shared" / "specs"
"""The vendors' official documents, where they lie beside the checkout; tests that need them are skipped elsewhere."""

for _variable, _file in {
    "GETPATTER_TWILIO_SPEC": "twilio_api_v2010.json",
    "GETPATTER_TELNYX_SPEC": "telnyx_call_control_from_sdk.json",
    "GETPATTER_OPENAI_SPEC": "openai_openapi.json",
    "GETPATTER_ELEVENLABS_SPEC": "elevenlabs_agent_asyncapi_2026-08.yaml",
}.items():
    if (SPECIFICATIONS / _file).is_file():
        os.environ.setdefault(_variable, str(SPECIFICATIONS / _file))

# A dashboard that its developer has open is not told of the calls of the tests.
os.environ.setdefault("PATTER_DASHBOARD_NOTIFY", "0")


def _slowness() -> float:
    """What the limits are multiplied by: a busy machine, or a tracer, is not a slow test.

    Three, so that the pause of another process fails nobody, or more when many are waiting already.
    """
    chosen = os.environ.get("GETPATTER_TEST_SLOWNESS")
    if chosen:
        return float(chosen)
    try:
        waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows, and containers without /proc
        return 3.0
    return min(max(3.0, 3 * waiting), 10.0)


SLOWNESS: Final = _slowness()

# Derandomised: a change fails or passes, and does so again. The night is for finding new examples.
_SLOW_IS_NO_BUG: Final = [HealthCheck.too_slow]
settings.register_profile(
    "default",
    derandomize=True,
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=_SLOW_IS_NO_BUG,
)
settings.register_profile(
    "nightly", max_examples=20_000, deadline=None, suppress_health_check=_SLOW_IS_NO_BUG
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def kind_of(path: Path) -> str | None:
    """The kind of the test module at `path`, or None if it stands outside the known places."""
    try:
        parts = path.relative_to(ROOT).parts
    except ValueError:
        return None
    if len(parts) == 1:
        return KIND_OF_FILE.get(parts[0])
    return parts[0] if parts[0] in KINDS else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the mark and the limit of its kind."""
    for item in items:
        kind = kind_of(item.path)
        if kind is None:
            message = (
                f"{item.path}: a test needs a kind. Put it into one of tests/{{{','.join(sorted(KINDS))}}}/ "
                "or name its file in KIND_OF_FILE of tests/conftest.py"
            )
            raise pytest.UsageError(message)
        item.add_marker(kind)
        if item.get_closest_marker("timeout") is None:
            # A property tries a hundred examples, wherever it stands.
            is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
            limit = LIMIT_S.get("properties" if is_property else kind, 60)
            item.add_marker(pytest.mark.timeout(limit * SLOWNESS))


# ----------------------------------------------------------------------------------- sockets closed


class _Network:
    closed = False


_REACHES_OUT: Final = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}
)


def _watch(event: str, args: tuple[object, ...]) -> None:
    if _Network.closed and event in _REACHES_OUT:
        message = f"{event}{args[1:]!r}: a fast test opens no socket; tests/e2e is the place for it"
        raise PermissionError(message)


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _sockets_closed(request: pytest.FixtureRequest) -> Iterator[None]:
    _Network.closed = kind_of(request.path) in SOCKETS_CLOSED
    yield
    _Network.closed = False


# ------------------------------------------------------------------------------------ no task left


@pytest.fixture
async def _watched_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(5):  # a task that was cancelled needs a turn of the loop to notice
        await asyncio.sleep(0)
    current = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() - before if task is not current]
    if left:
        names = "\n".join(f"  {task!r}" for task in left)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        pytest.fail(f"{len(left)} task(s) still running after the test:\n{names}")


@pytest.fixture(autouse=True)
def _no_task_left(request: pytest.FixtureRequest) -> None:
    """Every async test, without asking: set up first, so looked at when all else is torn down."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_watched_tasks")


# ------------------------------------------------------------------------------- how many, how long


_COUNTS: Final[Counter[str]] = Counter()
_SECONDS: Final[defaultdict[str, float]] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the test under its kind (on the process that reports, also with xdist)."""
    kind = kind_of(ROOT.parent / report.nodeid.partition("::")[0]) or "?"
    _SECONDS[kind] += report.duration
    if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
        _COUNTS[kind] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests of each kind there were and how long they took together."""
    if _COUNTS:
        each = (f"{kind} {_COUNTS[kind]} in {_SECONDS[kind]:.1f} s" for kind in sorted(_COUNTS))
        terminalreporter.write_line("by kind: " + ", ".join(each))
