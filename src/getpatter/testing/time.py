"""Virtual time: an event loop whose clock jumps to the next timer whenever there is nothing to do.

An hour of talk takes milliseconds, and the same every time. `asyncio.sleep`, `timeout`, `call_at` and
`clock.now()` all follow the loop's clock, so the code under test does not know.

```python
async def scenario() -> None:
    started = clock.now()
    await asyncio.sleep(3600)
    assert clock.now() - started == 3600

virtual_time.run(scenario())       # or decorate a test with @in_virtual_time
```

What really happens cannot be hurried. While a job runs in a thread (`to_thread`, name resolution), while a
connection is being made, or inside `hold()`, the loop waits in real time and its clock stands still. A byte on a
loopback socket is read before the clock moves; for a peer in another process or thread, say `hold()`.
When nothing can ever happen again, the loop raises `StuckError` and says who waits for what.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from getpatter.types import Instant

if TYPE_CHECKING:
    from concurrent.futures import Executor

_T = TypeVar("_T")
_P = ParamSpec("_P")

START: Final = 1000.0
"""Where virtual clocks begin. Not 0, which code could mistake for "never"."""
WALL_START: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z in Unix seconds."""

_QUIET_S: Final = 0.001  # after traffic: the kernel delivers on loopback at once, except under load
_PATIENCE_S: Final = 0.05  # bytes that cannot be written yet: the peer may be about to read
_DRAIN_EVERY: Final = 256  # polls skipped while no socket is open


class StuckError(RuntimeError):
    """Every task waits for something that cannot happen any more."""


class ManualClock:
    """Time for pure code: stands still until it is told to go on. Never goes back."""

    def __init__(self, start: float = START) -> None:
        """Begin at `start` seconds."""
        self._now = Instant(start)

    @property
    def now(self) -> Instant:
        """The instant that it is."""
        return self._now

    def advance(self, seconds: float) -> Instant:
        """Go on by `seconds` and return the new instant."""
        return self.advance_to(Instant(self._now + seconds))

    def advance_ms(self, ms: float) -> Instant:
        """Go on by `ms` milliseconds and return the new instant."""
        return self.advance(ms / 1000)

    def advance_to(self, at: Instant) -> Instant:
        """Go on to `at`, which must not lie in the past, and return it."""
        if at < self._now:
            raise ValueError(f"time does not go back: it is {self._now}, not {at}")
        self._now = at
        return at


class _Poller(selectors.DefaultSelector):
    """The loop asks it to wait for sockets; it asks the loop whether time may pass instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return self.poll(0) if self.loop.has_sockets_or_is_due() else []
        return self.loop.wait(timeout)

    def poll(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Really wait, in real time."""
        return super().select(timeout)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait for timers: when nothing is ready, its clock jumps to the next one."""

    def __init__(
        self, *, start: float = START, wall_start: float = WALL_START, real_limit: float = 10.0
    ) -> None:
        """Begin at `start` on the loop's clock and at `wall_start` (Unix seconds) on the wall.

        `real_limit`: seconds that it waits for something real (a thread, a socket, a `hold`) before it says
        that it is stuck.
        """
        self._poller = _Poller()
        self._poller.loop = self
        self._now = start
        self._wall_offset = wall_start - start
        self._real_limit = real_limit
        self._holds = 0
        self._holding: dict[str, int] = {}
        self._was_traffic = False
        self._skipped_polls = 0
        self._processes: list[asyncio.SubprocessTransport] = []
        self._own_sockets = 0
        super().__init__(self._poller)
        self._own_sockets = len(self._poller.get_map())  # the pipe that wakes the loop

    # ---------------------------------------------------------------------------------------- clocks

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def wall(self) -> float:
        """Virtual Unix seconds; read by `clock.wall()`."""
        return self._wall_offset + self._now

    @contextmanager
    def hold(self, reason: str = "hold()") -> Generator[None, None, None]:
        """Let the clock stand still meanwhile, because something real is on its way."""
        self._holds += 1
        self._holding[reason] = self._holding.get(reason, 0) + 1
        try:
            yield
        finally:
            self._release(reason)

    def _release(self, reason: str) -> None:
        self._holds -= 1
        self._holding[reason] -= 1
        if not self._holding[reason]:
            del self._holding[reason]

    # --------------------------------------------------------------------------------------- waiting

    def has_sockets_or_is_due(self) -> bool:
        """Whether a look at the sockets may find something. Without sockets one look in many will do."""
        if len(self._poller.get_map()) > self._own_sockets or self._holds:
            return True
        self._skipped_polls += 1
        if self._skipped_polls < _DRAIN_EVERY:
            return False
        self._skipped_polls = 0
        return True

    def wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing is ready: see what really happens, or let time pass up to the next timer."""
        if self._holds:
            return self._wait_really()
        if len(self._poller.get_map()) > self._own_sockets:
            events = self._poller.poll(self._grace())
            self._was_traffic = bool(events)
            if events:
                return events
        if timeout is not None:
            self._now = max(self._now, self._next_timer())
            return []
        if len(self._poller.get_map()) > self._own_sockets or self._has_living_process():
            return self._wait_really()
        raise StuckError(f"nothing can happen any more; still waiting:\n{self._who_waits()}")

    def _next_timer(self) -> float:
        scheduled: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009 - typeshed hides it
        return scheduled[0].when()

    def _grace(self) -> float:
        if any(key.events & selectors.EVENT_WRITE for key in self._poller.get_map().values()):
            return _PATIENCE_S
        return _QUIET_S if self._was_traffic else 0

    def _wait_really(self) -> list[tuple[selectors.SelectorKey, int]]:
        limit = _real_seconds() + self._real_limit
        while (left := limit - _real_seconds()) > 0:
            events = self._poller.poll(left)
            self._was_traffic = bool(events)
            if events:
                return events
        reasons = ", ".join(self._holding) or "sockets or processes"
        raise StuckError(
            f"waited {self._real_limit:g} s of real time for {reasons}; still waiting:\n{self._who_waits()}"
        )

    def _who_waits(self) -> str:
        lines: list[str] = []
        for task in asyncio.all_tasks(self):
            stack = task.get_stack(limit=1)
            place = (
                f"{stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else "not started"
            )
            lines.append(f"  {task.get_name()} at {place}: {task.get_coro()!r}")
        return "\n".join(sorted(lines)) or "  no task at all"

    def _has_living_process(self) -> bool:
        self._processes = [each for each in self._processes if each.get_returncode() is None]
        return bool(self._processes)

    # --------------------------------------------------------------------------- what really happens

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., _T], *args: object
    ) -> asyncio.Future[_T]:
        """Run a job in a thread; the clock stands still until it is done."""
        reason = f"thread running {getattr(func, '__qualname__', func)!s}"
        self._holds += 1
        self._holding[reason] = self._holding.get(reason, 0) + 1
        try:
            future: asyncio.Future[_T] = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._release(reason)
            raise
        future.add_done_callback(lambda _: self._release(reason))
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads, in real time."""
        with self.hold("the end of the threads"):
            await super().shutdown_default_executor(*args)

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, in real time."""
        with self.hold("a connection being made"):
            return await super().create_connection(*args, **kwargs)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect, in real time."""
        with self.hold("a connection being made"):
            await super().sock_connect(sock, address)

    async def start_tls(self, *args: Any, **kwargs: Any) -> Any:
        """Shake hands, in real time."""
        with self.hold("a TLS handshake"):
            return await super().start_tls(*args, **kwargs)

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """Start a program, in real time. For what it says later, use `hold()`."""
        with self.hold("a program being started"):
            started = await super().subprocess_exec(*args, **kwargs)
        self._processes.append(started[0])
        return started

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        """Start a shell command, in real time. For what it says later, use `hold()`."""
        with self.hold("a program being started"):
            started = await super().subprocess_shell(*args, **kwargs)
        self._processes.append(started[0])
        return started


def _real_seconds() -> float:
    return time.monotonic()  # noqa: TID251 - the patience of this loop is the only thing that is not virtual


@contextmanager
def hold(reason: str = "hold()") -> Generator[None, None, None]:
    """Let the running loop's clock stand still, if it is a virtual one: something real is on its way."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualTimeLoop):
        with loop.hold(reason):
            yield
    else:
        yield


def run(
    main: Coroutine[Any, Any, _T],
    *,
    start: float = START,
    wall_start: float = WALL_START,
    real_limit: float = 10.0,
) -> _T:
    """Run `main` to its end in virtual time, like `asyncio.run`.

    Raises:
        StuckError: nothing can happen any more, and `main` is not done.
    """

    def new_loop() -> VirtualTimeLoop:
        return VirtualTimeLoop(start=start, wall_start=wall_start, real_limit=real_limit)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[_P, Awaitable[_T]]) -> Callable[_P, _T]:
    """Decorate an async test (or any coroutine function): a plain function that runs it in virtual time."""

    @functools.wraps(test)
    def in_its_own_loop(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        async def main() -> _T:
            return await test(*args, **kwargs)

        return run(main())

    return in_its_own_loop
