"""What one echoed media message costs the server: microseconds of CPU, for both transports.

    python -m benchmarks.server              50 calls at 50 messages a second, about forty seconds
    python -m benchmarks.server 200 8        200 calls, 8 seconds a run
    python -m benchmarks.server --quick

A server in a process of its own echoes the frames of admitted calls untouched; this process plays the carrier
(picows client, messages of the calls spread evenly over each 20 ms). Both transports take turns, so that
whatever else runs on the machine meets both; the least of three runs counts, and the ratio is the figure
to trust. CPU is user and system time of the server from the last admission to the last echo.
"""

# ruff: noqa: ASYNC110 - what is waited for happens in C, or in uvicorn, which tells nobody

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from secrets import token_bytes

import uvicorn
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from getpatter.carriers.base import (
    CallArrived,
    Carrier,
    MediaWire,
    Stream,
    StreamStarted,
    WebhookEvent,
)
from getpatter.carriers.twilio import Carrier as Twilio
from getpatter.runtime import clock
from getpatter.runtime.media import MediaSocket
from getpatter.runtime.tokens import Grant, StreamTokens
from getpatter.server.app import create_app
from getpatter.server.gate import ServerSettings
from getpatter.server.listener import HttpServer, loop_factory
from getpatter.types import Instant

RUNS = 3
CALLS = 50
SECONDS = 6.0
FRAME_SECONDS = 0.02
MEDIA = json.dumps(
    {
        "event": "media",
        "sequenceNumber": "4",
        "media": {"track": "inbound", "chunk": "3", "timestamp": "60", "payload": "/" * 216},
        "streamSid": "MZ" + "3" * 32,
    }
).encode()
SID = "CA" + "1" * 32


class Echo:
    """A call that says what it hears."""

    def __init__(self, socket: MediaSocket) -> None:
        self.received: Callable[[bytes], None] = socket.send

    def dropped(self, reason: str) -> None:
        raise AssertionError(reason)

    def closed(self, code: int) -> None:
        pass


class Board:
    """Admits whoever shows the token that its reference is."""

    is_stopping = False

    def __init__(self) -> None:
        self.tokens = StreamTokens(token_bytes)

    def expect(self, reference: str) -> str:
        now = clock.now()
        grant = Grant(reference, "twilio", "inbound", Instant(now + 600), SID)
        return self.tokens.mint(grant, now=now)

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        return None

    async def admit(
        self,
        carrier: Carrier,
        wire: MediaWire,
        started: StreamStarted,
        *,
        reference: str,
        token: str,
        socket: MediaSocket,
    ) -> Echo | None:
        grant = self.tokens.spend(
            token, reference=reference, call_id=started.call_id, carrier="twilio", now=clock.now()
        )
        return Echo(socket) if grant else None

    def is_expected(self, reference: str, token: str) -> bool:
        return self.tokens.look(token, reference=reference, now=clock.now()) is not None

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        pass


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def serve(transport: str, n_calls: int) -> None:
    """The server's process: prints its port and tokens, then its CPU time for each line it reads."""
    board = Board()
    carrier = Twilio(account_sid="AC" + "0" * 32, auth_token="0" * 32)
    app = create_app(board, {"twilio": carrier}, settings=ServerSettings("phone.example.com"))
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        if transport == "fast":
            ours = HttpServer(app, port=0)
            tasks.create_task(ours.run())
            port = await ours.started()
        else:
            config = uvicorn.Config(
                app,
                port=0,
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                log_config=None,
                lifespan="off",
                access_log=False,
            )
            theirs = uvicorn.Server(config)
            tasks.create_task(theirs.serve())
            while not theirs.started:
                await asyncio.sleep(0.01)
            port = theirs.servers[0].sockets[0].getsockname()[1]
        print(json.dumps([port, [board.expect(f"r{n}") for n in range(n_calls)]]), flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(cpu_seconds(), flush=True)
        os._exit(0)


class Caller(WSListener):
    """One call of the carrier."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.heard = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        start = {
            "event": "start",
            "streamSid": "MZ" + "3" * 32,
            "start": {
                "streamSid": "MZ" + "3" * 32,
                "callSid": SID,
                "accountSid": "AC" + "0" * 32,
                "customParameters": {"token": self.token},
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            },
        }
        transport.send(WSMsgType.TEXT, json.dumps(start).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            raise AssertionError(frame)
        self.heard += 1


async def call(port: int, tokens: list[str], seconds: float, cpu: Callable[[], float]) -> float:
    """Talk for so many seconds; returns microseconds of the server's CPU for one echo."""
    callers = [Caller(token) for token in tokens]
    sockets: list[WSTransport] = []
    for n, caller in enumerate(callers):
        url = f"ws://127.0.0.1:{port}/ws/stream/r{n}"
        transport, _ = await ws_connect(lambda caller=caller: caller, url)
        transport.send(WSMsgType.TEXT, MEDIA)
        while not caller.heard:
            await asyncio.sleep(0.001)
        sockets.append(transport)
    loop = asyncio.get_running_loop()
    before = cpu()
    began = loop.time()
    sent = 0
    gap = FRAME_SECONDS / len(sockets)
    n_messages = int(seconds / gap)
    while sent < n_messages:
        due = min(n_messages, int((loop.time() - began) / gap) + 1)
        for n in range(sent, due):
            sockets[n % len(sockets)].send(WSMsgType.TEXT, MEDIA)
        sent = due
        await asyncio.sleep(0.001)
    while sum(caller.heard for caller in callers) < sent + len(callers):
        await asyncio.sleep(0.001)
    used = cpu() - before
    for transport in sockets:
        transport.disconnect()
    return used / sent * 1e6


def measure(transport: str, n_calls: int, seconds: float) -> float:
    arguments = [sys.executable, "-m", "benchmarks.server", "--serve", transport, str(n_calls)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        asked, answers = server.stdin, server.stdout

        def cpu() -> float:
            asked.write("\n")
            asked.flush()
            return float(answers.readline())

        port, tokens = json.loads(answers.readline())
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(call(port, tokens, seconds, cpu))


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(sys.argv[2], int(sys.argv[3])))
        return
    is_quick = "--quick" in sys.argv
    numbers = [each for each in sys.argv[1:] if each != "--quick"]
    n_calls = int(numbers[0]) if numbers else CALLS
    seconds = float(numbers[1]) if numbers[1:] else 2.0 if is_quick else SECONDS
    best: dict[str, float] = {}
    began = time.monotonic()
    for _ in range(1 if is_quick else RUNS):
        for transport in ("fast", "plain"):
            us = measure(transport, n_calls, seconds)
            best[transport] = min(us, best.get(transport, us))
            print(f"{transport:6} {us:6.1f} us a message", flush=True)
    print(
        f"\n{n_calls} calls: fast {best['fast']:.1f} us, plain {best['plain']:.1f} us,"
        f" ratio {best['fast'] / best['plain']:.2f} ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main()
