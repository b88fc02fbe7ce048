"""A quick tunnel of Cloudflare: the `cloudflared` program, started, listened to and stopped.

Protocol: https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/do-more-with-tunnels/trycloudflare
The program writes the name it was given, and that it is connected, to its log:

```
INF |  https://three-random-words-here.trycloudflare.com  |
INF Registered tunnel connection connIndex=0 ...
```

The name works a few seconds later, when it can be resolved. Asking for it too early does harm: resolvers remember
for a while that there was no such name. So it is first asked for once the program says that it is connected.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import re
import shutil
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar, Final

from getpatter.errors import PatterConnectionError
from getpatter.net.tasks import TaskNest

logger = logging.getLogger(__name__)

Resolves = Callable[[str], Awaitable[bool]]
"""Whether a host name has an address by now."""

_NAME: Final = re.compile(rb"https://((?!api\.)[a-z0-9-]{1,63}\.trycloudflare\.com)")
_CONNECTED: Final = re.compile(rb"Registered tunnel connection|Connection [0-9a-f-]+ registered")
_CONNECTS_WITHIN: Final = 5.0
"""Seconds to wait for the line that says so; its wording has changed before."""
_UP_WITHIN: Final = 30.0
_ENDS_WITHIN: Final = 5.0
_LAST_WORDS_WITHIN: Final = 1.0
_ASK_EVERY: Final = 0.5
_LINES: Final = 20
_LONGEST_LINE: Final = 300
_HINT: Final = (
    "the program 'cloudflared' is not installed: get it from your package manager ('brew install cloudflared', "
    "'winget install Cloudflare.cloudflared') or from the downloads page of Cloudflare Tunnel; or forward a "
    "name yourself and pass webhook_url='...'"
)


async def resolves(name: str) -> bool:
    """Whether this machine can resolve `name`."""
    try:
        await asyncio.get_running_loop().getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return True


class CloudflareTunnel:
    """A public name from Cloudflare, new at every start, without an account. Needs the `cloudflared` program.

    ```python
    await phone.serve(agent, tunnel=CloudflareTunnel())
    ```
    """

    is_started_here: ClassVar[bool] = True
    client_header: ClassVar[str] = "cf-connecting-ip"

    def __init__(
        self,
        *,
        program: str = "cloudflared",
        up_within: float = _UP_WITHIN,
        resolver: Resolves = resolves,
    ) -> None:
        """Nothing is started.

        Args:
            program: Name or path of the program.
            up_within: Seconds within which the name must be there and resolve.
            resolver: Asked whether the name resolves.
        """
        self._program = program
        self._up_within = up_within
        self._resolves = resolver
        self._hostname = ""
        self._process: asyncio.subprocess.Process | None = None
        self._nest: TaskNest | None = None
        self._said: deque[str] = deque(maxlen=_LINES)
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"CloudflareTunnel(hostname={self._hostname!r})"

    @property
    def hostname(self) -> str:
        """The public name; empty before `start` and after `stop`."""
        return self._hostname

    async def start(self, port: int) -> str:
        """Lead a new public name to `port` of this machine. Returns the name once it resolves.

        Raises:
            PatterConnectionError: the program is missing or ended, or the tunnel was not up in time.
        """
        await self.stop()
        path = shutil.which(self._program)
        if path is None:
            raise PatterConnectionError(_HINT, retryable=False)
        try:
            async with asyncio.timeout(self._up_within):
                return await self._up(path, port)
        except TimeoutError:
            message = f"the Cloudflare tunnel was not up within {self._up_within:g} s{self._why()}"
            await self.stop()
            raise PatterConnectionError(message) from None
        except BaseException:
            await self.stop()
            raise

    async def _up(self, path: str, port: int) -> str:
        self._said.clear()
        self._ended = asyncio.Event()
        try:
            # A session of its own: Ctrl-C is for us, and we stop it when the calls have ended.
            process = self._process = await asyncio.create_subprocess_exec(
                path,
                "tunnel",
                "--no-autoupdate",
                "--url",
                f"http://127.0.0.1:{port}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PatterConnectionError(
                f"cloudflared could not be started: {reason}", retryable=False
            ) from error
        _running.add(process.pid)
        named: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connected = asyncio.Event()
        self._nest = TaskNest("tunnel")
        self._nest.spawn(self._listen(process, named, connected), "output")
        name = await named
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONNECTS_WITHIN):
                await connected.wait()
        while not await self._resolves(name):
            await asyncio.sleep(_ASK_EVERY)
            self._check_alive()
        self._check_alive()
        self._hostname = name
        logger.info("tunnel.up host=%s", name)
        return name

    def _check_alive(self) -> None:
        if self._ended.is_set():
            raise PatterConnectionError(f"cloudflared ended before the tunnel was up{self._why()}")

    async def _listen(
        self,
        process: asyncio.subprocess.Process,
        named: asyncio.Future[str],
        connected: asyncio.Event,
    ) -> None:
        """Read the program's log for as long as it lives: a full pipe would stop it."""
        assert process.stderr is not None, "asked for"
        try:
            while chunk := await _line(process.stderr):
                self._said.append(chunk.decode(errors="replace").strip()[:_LONGEST_LINE])
                found = _NAME.search(chunk)
                if found and not named.done():
                    named.set_result(found[1].decode())
                if _CONNECTED.search(chunk):
                    connected.set()
            await process.wait()
            _running.discard(process.pid)
        finally:
            self._ended.set()
            connected.set()
            if not named.done():
                error = PatterConnectionError(
                    f"cloudflared ended before the tunnel was up{self._why()}"
                )
                named.set_exception(error)
                named.exception()  # a start that was cancelled will not ask

    async def lost(self) -> None:
        """Wait until the program has ended, by itself or by `stop`. Returns at once when it is not running."""
        if self._process is not None:
            await self._ended.wait()

    async def stop(self) -> None:
        """End the program: politely, and after 5 s with force. Idempotent."""
        process, self._process = self._process, None
        nest, self._nest = self._nest, None
        self._hostname = ""
        if process is not None and process.returncode is None:
            _signal(process.terminate)
            try:
                async with asyncio.timeout(_ENDS_WITHIN):
                    await process.wait()
            except TimeoutError:
                _signal(process.kill)
                await process.wait()
        if nest is not None:
            with suppress(TimeoutError):  # a child of the program may hold its output open
                async with asyncio.timeout(_LAST_WORDS_WITHIN):
                    await self._ended.wait()
            await nest.close()
        if process is not None:
            _running.discard(process.pid)

    def _why(self) -> str:
        said = [line for line in self._said if " ERR " in line or "error" in line.lower()]
        return f": {said[-1]}" if said else ""


_running: Final[set[int]] = set()


@atexit.register
def _end_all() -> None:
    """No program of ours outlives the interpreter."""
    for pid in _running:
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def _signal(send: Callable[[], None]) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        send()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, or a part of one that is too long; empty at the end."""
    try:
        return await stream.readuntil()
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as long:
        return await stream.readexactly(long.consumed)
