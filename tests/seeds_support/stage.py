"""Where an example is performed: its own folder, its own environment, the names it takes for granted."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, TracebackType
from typing import Final, Self

from tests.seeds_support.extract import TOP_LEVEL_AWAIT, Example

_PATIENCE_S: Final = 60.0
"""Longer than a shutdown may take (5 s to hang up, 10 s to drain, 30 s for the last callbacks)."""

_CREDENTIAL: Final = (
    "_API_KEY",
    "_ACCOUNT_SID",
    "_AUTH_TOKEN",
    "_PUBLIC_KEY",
    "_CONNECTION_ID",
    "_AGENT_ID",
)


@dataclass
class Stage(AbstractContextManager["Stage"]):
    """One performance of one example, verbatim.

    Inside `with`, the environment holds nothing of the developer's own credentials and settings, and what
    the example asks of `.env` is really read from a file. Everything is put back afterwards.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Written to `.env`, and set in the environment too for examples that do not read the file."""
    names: dict[str, object] = field(default_factory=dict)
    """The namespace: what earlier text of the document defined, before; what the example defines, after."""

    _undo: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        was = dict(os.environ)
        self._undo.callback(os.environ.update, was)
        self._undo.callback(os.environ.clear)  # the last one registered is the first one called
        for name in was:
            if name.startswith("PATTER_") or name.endswith(_CREDENTIAL):
                del os.environ[name]
        self._undo.callback(os.chdir, Path.cwd())
        os.chdir(self.folder)
        lines = (f'{name}="{value}"\n' for name, value in self.settings.items())
        (self.folder / ".env").write_text("".join(lines), encoding="utf-8")
        os.environ.update(self.settings)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def _code(self, example: Example) -> CodeType:
        """The example as a file of its own: `load_dotenv()` looks beside it, tracebacks show its lines."""
        file = self.folder / "example.py"
        file.write_text(example.source, encoding="utf-8")
        flags = 0 if "asyncio.run(" in example.source else TOP_LEVEL_AWAIT
        code: CodeType = compile(example.source, str(file), "exec", flags, dont_inherit=True)
        return code

    def run(self, example: Example) -> dict[str, object]:
        """Run an example from outside any loop; one with `await` at its top gets a loop. Returns its names."""
        self.names.setdefault("__name__", "__main__")
        code = self._code(example)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(self.play(example))
        else:
            exec(code, self.names)
        return self.names

    async def play(self, example: Example) -> dict[str, object]:
        """Run an example on the loop that runs already. Returns its names."""
        self.names.setdefault("__name__", "__main__")
        result: object = eval(self._code(example), self.names)
        if inspect.iscoroutine(result):
            await result
        return self.names

    def run_while(
        self,
        example: Example,
        world: Callable[[], Coroutine[object, object, None]],
        *,
        limit: float = 30.0,
    ) -> dict[str, object]:
        """Run a program that serves until Ctrl-C, while `world` happens to it; then press Ctrl-C.

        The program has the main thread, as it would have; `world` runs on a loop in a thread of its own,
        for at most `limit` seconds. What `world` raises is raised here.
        """
        failed: list[BaseException] = []
        ended = threading.Event()

        def happen() -> None:
            try:
                asyncio.run(asyncio.wait_for(world(), limit))
            except BaseException as exc:  # noqa: BLE001 - raised again below, on the test's thread
                failed.append(exc)
            # A program that did not hear the first Ctrl-C is pressed again, as a person would.
            while not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                if ended.wait(_PATIENCE_S):
                    break

        outside = threading.Thread(target=happen, name="world")
        outside.start()
        try:
            self.run(example)
        except KeyboardInterrupt:
            pass  # what Ctrl-C does to a program that does not catch it
        finally:
            ended.set()
            outside.join(limit)
        if failed:
            raise failed[0]
        return self.names


async def until_it_listens(port: int, *, limit: float = 10.0) -> None:
    """Wait until somebody accepts connections on `port` of this machine."""
    give_up = time.monotonic() + limit
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return
