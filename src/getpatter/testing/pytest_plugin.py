"""What pytest knows once getpatter is installed: async tests in virtual time, and a phone to ring.

```python
async def test_the_desk_books(phone_simulation: PhoneSimulation) -> None:
    phone = await phone_simulation(agent, on_message=desk)
    call = await phone.talk(Polite("a haircut please"))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Goodbye!")
```

A test that asks for `phone_simulation`, or has the mark `virtual_time`, runs on an event loop whose clock jumps, so it
takes milliseconds and needs no other plugin. In the end every phone is closed, and the test fails if the phone did
something that the carrier does not allow, or if a task is left.

Every pytest of every project with getpatter installed loads this module: it imports nothing before it is needed.
`-p no:getpatter` switches it off.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.testing.line import Conditions
    from getpatter.testing.simulation import Simulation
    from getpatter.testing.twilio import Callee

__all__ = ["PhoneSimulation"]

_FIXTURE: Final = "phone_simulation"
_MARK: Final = "virtual_time"
_Test = Callable[..., Coroutine[Any, Any, object]]


class PhoneSimulation:
    """Opens phones that simulated callers can ring. The fixture `phone_simulation`; await it like a function."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._open = AsyncExitStack()
        self._watched: list[Simulation] = []

    async def __call__(
        self,
        agent: Agent,
        *,
        problems_expected: bool = False,
        conditions: Conditions | None = None,
        callees: Mapping[str, Callee] | None = None,
        **serving: Any,
    ) -> Simulation:
        """A phone that is answered by `agent` until the test ends.

        Args:
            agent: Answers the calls.
            problems_expected: Do not fail the test for what the carrier complains about.
            conditions: What is wrong with every line.
            callees: Who can be called, by number.
            serving: As `Patter.serve`: `on_message`, `on_call_end`, `max_concurrent_calls` ...
        """
        from getpatter.testing.simulation import Simulation  # noqa: PLC0415 - loads the server

        phone = Simulation(agent, conditions=conditions, callees=callees, **serving)
        await self._open.enter_async_context(phone)
        if not problems_expected:
            self._watched.append(phone)
        return phone

    async def close(self) -> None:
        """Hang up everywhere and close every phone."""
        await self._open.aclose()

    @property
    def problems(self) -> list[str]:
        """What the carrier complains about, of all phones that are watched."""
        return [problem for phone in self._watched for problem in phone.problems]


@pytest.fixture(name=_FIXTURE)
def _phone_simulation(request: pytest.FixtureRequest) -> PhoneSimulation:
    """Opens a phone: `phone = await phone_simulation(agent)`. The test must be an `async def`."""
    if not isinstance(getattr(request.node, "obj", None), _InVirtualTime):
        pytest.fail(f"{_FIXTURE} needs a test that is an `async def`", pytrace=False)
    return PhoneSimulation()


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means."""
    config.addinivalue_line(
        "markers", f"{_MARK}: run this async test on an event loop whose clock does not wait"
    )


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Make plain functions of the async tests that are ours, before another plugin takes them for its own."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function) and _is_ours(item):
            item.obj = _InVirtualTime(item.obj)
    return made


def _is_ours(item: pytest.Function) -> bool:
    if not inspect.iscoroutinefunction(item.obj):
        return False
    return _FIXTURE in item.fixturenames or item.get_closest_marker(_MARK) is not None


class _InVirtualTime:
    """An async test as a plain function."""

    def __init__(self, test: _Test) -> None:
        functools.update_wrapper(self, test)
        self._test = test

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        from getpatter.testing import time as virtual_time  # noqa: PLC0415 - only for tests that are ours

        phones = [each for each in kwargs.values() if isinstance(each, PhoneSimulation)]
        virtual_time.run(self._run(phones, *args, **kwargs))

    async def _run(self, phones: list[PhoneSimulation], *args: Any, **kwargs: Any) -> None:
        try:
            await self._test(*args, **kwargs)
        finally:
            for phone in phones:
                await phone.close()
        problems = [problem for phone in phones for problem in phone.problems]
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            pytest.fail(
                f"the carrier complains about {len(problems)} thing(s):\n{listed}", pytrace=False
            )
        await _nothing_left()


async def _nothing_left() -> None:
    for _ in range(5):  # a task that was cancelled needs a turn of the loop to notice
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        names = "\n".join(sorted(f"  {task.get_name()}: {task.get_coro()!r}" for task in left))
        pytest.fail(f"{len(left)} task(s) still run after the test:\n{names}", pytrace=False)
