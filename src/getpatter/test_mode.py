"""Talk to an agent in the terminal: no phone, no recogniser, no voice, no carrier account. See `TestSession`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TextIO

from getpatter.makers import NO_KEYS, text_llm
from getpatter.runtime.text_call import TextCall, TextOptions

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.observability.event_bus import EventBus

Callback = Callable[..., object]

COMMANDS: Final = {
    "/quit": "leave",
    "/hangup": "end the call, as the agent would",
    "/transfer <number>": "hand the call on, as the agent would",
    "/history": "show what was said",
}
PROMPT: Final = "You: "
_CHUNK: Final = 4096


class TestSession:
    """One conversation in text, between somebody who types and an agent.

    It is a call in every respect but its sound: turns, tools, guardrails, hooks, callbacks and history are those of
    the phone. `phone.test(agent)` runs one in the terminal; give `input` and `output` to run it elsewhere.
    """

    __test__ = False  # its name makes pytest curious

    def __init__(  # noqa: PLR0913 - the documented parameters
        self,
        agent: Agent,
        on_message: Callback | str | None = None,
        on_call_start: Callback | None = None,
        on_call_end: Callback | None = None,
        *,
        on_transcript: Callback | None = None,
        on_metrics: Callback | None = None,
        input: TextIO | None = None,  # noqa: A002 - what a stream of input is called
        output: TextIO | None = None,
        keys: Mapping[str, str] = NO_KEYS,
        allow_private_urls: bool = False,
        bus: EventBus | None = None,
    ) -> None:
        """Prepare a conversation; `run` holds it.

        Args:
            agent: Who talks. An engine's agent is driven by a text model of the same vendor.
            on_message: Writes the replies, as in `serve()`.
            on_call_start: As in `serve()`; so are the other callbacks.
            on_call_end: Told when the conversation is over.
            on_transcript: Told of each line.
            on_metrics: Told after each turn.
            input: Where lines are read; standard input if left out.
            output: Where the conversation is shown; standard output if left out.
            keys: Provider keys of the older keyword form.
            allow_private_urls: Let tools reach the private network.
            bus: Where events go.

        Raises:
            ValueError: nobody can write the replies.
        """
        self._input = input
        self._output = output if output is not None else sys.stdout
        self._agent = agent
        self._on_message = on_message
        self._is_midline = False
        self._call = TextCall(
            agent,
            options=TextOptions(
                on_message=on_message,
                on_call_start=on_call_start,
                on_call_end=on_call_end,
                on_transcript=on_transcript,
                on_metrics=on_metrics,
                allow_private_urls=allow_private_urls,
            ),
            writer=lambda each: text_llm(each, keys),
            spoken=self._spoken,
            keyed=lambda digits: self._show(f"[keys: {digits}]"),
            bus=bus,
        )

    @property
    def call_id(self) -> str:
        """`test_` and 12 hexadecimal digits."""
        return self._call.call_id

    async def run(self) -> None:
        """Hold the conversation, until somebody ends it."""
        self._show_header()
        lines = _Lines(self._input)
        with _interrupt_is(lines.interrupt):
            try:
                async with self._call as call:
                    await self._talk(call, lines)
                    if call.is_over:
                        self._show(f"[the call is over: {call.line.reason}]")
            finally:
                lines.close()

    async def _talk(self, call: TextCall, lines: _Lines) -> None:
        while not call.is_over:
            self._end_line()
            self._write(PROMPT)
            line = await lines.next()
            if line is None:
                self._show("")
                return
            await self._obey(call, line.strip())
            with suppress(TimeoutError):
                await call.quiet()

    async def _obey(self, call: TextCall, line: str) -> None:
        command, _, rest = line.partition(" ")
        match command:
            case "":
                pass
            case "/quit":
                call.hang_up()
            case "/hangup":
                await call.control.hangup()
            case "/transfer":
                await self._transfer(call, rest.strip())
            case "/history":
                for each in call.history:
                    self._show(f"{each['role']}: {each['text']}")
            case _ if command.startswith("/"):
                self._show(f"[there is no {command}; there are {', '.join(COMMANDS)}]")
            case _:
                call.say(line)

    async def _transfer(self, call: TextCall, number: str) -> None:
        try:
            outcome = await call.control.transfer(number)
        except ValueError as error:
            self._show(f"[{error}]")
            return
        self._show(f"[transfer: {outcome.get('error') or outcome['status']}]")

    # -------------------------------------------------------------------------------------- screen

    def _show_header(self) -> None:
        agent, options = self._agent, self._call.options
        engine = agent.engine
        model = agent.model or getattr(agent.llm or engine, "model", "") or "default"
        voice = (
            agent.voice or getattr(engine, "voice", "") or getattr(agent.tts, "voice", "") or "none"
        )
        writer = "on_message" if self._on_message is not None else model
        self._show(f"Test mode: {agent.mode}, replies by {writer}, voice {voice} (not heard here)")
        self._show(f"Call {self.call_id} from {options.caller} to {options.callee}")
        for command, meaning in COMMANDS.items():
            self._show(f"  {command:20} {meaning}")

    def _spoken(self, text: str) -> None:
        if not self._is_midline:
            self._write("\rAgent:" if self._is_terminal() else "Agent:")
        self._is_midline = True
        self._write(f" {_printable(text)}")

    def _is_terminal(self) -> bool:
        return self._output.isatty()

    def _show(self, text: str) -> None:
        self._end_line()
        self._write(f"{_printable(text)}\n")

    def _end_line(self) -> None:
        if self._is_midline:
            self._is_midline = False
            self._write("\n")

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def _printable(text: str) -> str:
    """Without what a terminal would obey: the text comes from a model."""
    return "".join(each if each.isprintable() else " " for each in text)


class _Lines:
    """Lines of somebody who types, without holding up the event loop."""

    def __init__(self, stream: TextIO | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        # A daemon, because a read of a terminal cannot be called off.
        reading = threading.Thread(
            target=self._read, args=(stream,), name="getpatter-input", daemon=True
        )
        reading.start()

    async def next(self) -> str | None:
        """The next line; `None` at the end of the input."""
        return await self._queue.get()

    def interrupt(self) -> None:
        """Somebody pressed Ctrl-C."""
        self._queue.put_nowait("/hangup")

    def close(self) -> None:
        """Nobody reads any more."""
        self._queue = asyncio.Queue()

    def _read(self, stream: TextIO | None) -> None:
        for line in _lines_of(stream):
            self._tell(line)
        self._tell(None)

    def _tell(self, line: str | None) -> None:
        with suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(lambda: self._queue.put_nowait(line))


def _lines_of(stream: TextIO | None) -> Iterator[str]:
    if stream is not None:
        yield from stream
        return
    # Not through the buffer of sys.stdin: a thread that holds its lock cannot be left behind at exit.
    rest = b""
    while chunk := os.read(0, _CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def _interrupt_is(act: Callable[[], None]) -> Generator[None]:
    """Ctrl-C acts, where this is the main thread and the loop can say so."""
    loop = asyncio.get_running_loop()
    is_ours = False
    if threading.current_thread() is threading.main_thread():
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGINT, act)
            is_ours = True
    try:
        yield
    finally:
        if is_ours:
            loop.remove_signal_handler(signal.SIGINT)


__all__ = ["TestSession"]
