"""HTTP against a real server on loopback: exchanges, careful repetition, limits, streams."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from getpatter.errors import (
    AuthenticationError,
    ErrorCode,
    PatterConnectionError,
    RateLimitError,
)
from getpatter.net.http import HttpClient
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse
from getpatter.net.refusals import refusal

KEY = "sk-live-51H8abcdefghijkl"

Answer = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection of the server, after a request was read."""

    def __init__(self, writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        self.writer = writer
        self.head = head
        self.body = body

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", *headers]
        await self.write("\r\n".join([*lines, "", ""]).encode() + body)


class Server:
    """Answers with a script: one function for each request, the last one again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.script: list[Answer] = []
        self.requests: list[Peer] = []
        self.connections = 0
        self.tasks: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (
                        int(line[15:])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length:")
                    ),
                    0,
                )
                peer = Peer(writer, head, await reader.readexactly(length))
                self.requests.append(peer)
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                await answer(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the end of the test; a connection's task must not end as cancelled
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(*script: Answer) -> AsyncIterator[Server]:
    ours = Server()
    ours.script = list(script)
    server = await asyncio.start_server(ours.serve, "127.0.0.1", 0)
    ours.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/calls?token={KEY}"
    try:
        yield ours
    finally:
        server.close()
        for task in ours.tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in ours.tasks if task is not None))


@asynccontextmanager
async def client(
    *, total_timeout: float = 5.0, max_body: int = 1_000_000
) -> AsyncIterator[HttpClient]:
    ours = HttpClient("acme", total_timeout=total_timeout, max_body=max_body, jitter=lambda: -0.45)
    try:
        yield ours
    finally:
        await ours.aclose()
        await ours.aclose()


def answers(status: int, body: bytes = b"", *headers: str) -> Answer:
    async def answer(peer: Peer) -> None:
        await peer.answer(status, body, *headers)

    return answer


async def hang_up(peer: Peer) -> None:
    peer.writer.transport.abort()


async def say_nothing(peer: Peer) -> None:
    await peer.write(b"HTTP/1.1 ")
    await asyncio.Event().wait()


def get(server: Server, *, is_repeatable: bool = True) -> HttpRequest:
    return HttpRequest(
        "GET", server.url, {"Authorization": f"Bearer {KEY}"}, is_repeatable=is_repeatable
    )


# ---------------------------------------------------------------------------------------- one request


async def test_a_request_arrives_as_it_was_written_and_so_does_its_answer() -> None:
    async with serving(answers(201, b'{"a":1}', "X-Request-Id: r1")) as server, client() as http:
        request = HttpRequest(
            "POST",
            server.url,
            {"Content-Type": "application/json", "Authorization": "Basic x"},
            b'{"b":2}',
        )
        assert await http.send(request) == HttpResponse(
            201, {"content-length": "7", "x-request-id": "r1"}, b'{"a":1}'
        )
        peer = server.requests[0]
        assert peer.head.startswith(f"POST /calls?token={KEY} HTTP/1.1\r\n")
        assert "authorization: basic x\r\n" in peer.head.lower()
        assert "user-agent: getpatter/" in peer.head.lower()
        assert peer.body == b'{"b":2}'


async def test_connections_are_reused_and_cookies_are_not() -> None:
    async with serving(answers(200, b"ok", "Set-Cookie: caller=alice")) as server, client() as http:
        for _ in range(5):
            await http.send(get(server))
        assert server.connections == 1
        assert not any("cookie" in peer.head.lower() for peer in server.requests)


async def test_redirects_are_not_followed() -> None:
    async with (
        serving(answers(302, b"", "Location: http://127.0.0.1:1/")) as server,
        client() as http,
    ):
        assert (await http.send(get(server))).status == 302
        assert len(server.requests) == 1


# --------------------------------------------------------------------------------------------- again?


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_repeatable_request_is_sent_three_times_at_most(status: int) -> None:
    async with serving(answers(status)) as server, client() as http:
        assert (await http.send(get(server))).status == status
        assert len(server.requests) == 3


async def test_it_stops_at_the_first_answer_that_counts() -> None:
    async with serving(answers(503), hang_up, answers(200, b"yes")) as server, client() as http:
        assert (await http.send(get(server))).body == b"yes"
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_what_will_not_change_is_not_repeated(status: int) -> None:
    async with serving(answers(status)) as server, client() as http:
        assert (await http.send(get(server))).status == status
        assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [answers(503), answers(429), hang_up])
async def test_a_request_that_does_something_is_sent_once(answer: Answer) -> None:
    async with serving(answer) as server, client() as http:
        request = replace(get(server, is_repeatable=False), method="POST")
        if answer is hang_up:
            with pytest.raises(PatterConnectionError, match=r"acme: lost 127\.0\.0\.1"):
                await http.send(request)
        else:
            assert (await http.send(request)).status in {429, 503}
        assert len(server.requests) == 1


async def test_when_nothing_was_sent_even_that_one_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(answers(200)) as server:
        url = server.url
    async with client() as http:
        with pytest.raises(
            PatterConnectionError, match=r"acme: cannot reach 127\.0\.0\.1"
        ) as caught:
            await http.send(HttpRequest("POST", url))
    assert caught.value.retryable
    repeated = [
        r.getMessage() for r in caplog.records if r.getMessage().startswith("http.repeated")
    ]
    assert len(repeated) == 2
    assert KEY not in " ".join(repeated) + str(caught.value)


async def test_retry_after_is_respected_when_it_is_short_and_final_when_it_is_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        serving(answers(429, b"", "Retry-After: 0.07"), answers(200)) as server,
        client() as http,
    ):
        assert (await http.send(get(server))).status == 200
        assert "wait_s=0.07" in caplog.text
        server.script = [answers(429, b"", "Retry-After: 60")]
        assert (await http.send(get(server))).status == 429
        assert len(server.requests) == 3


# -------------------------------------------------------------------------------------------- limits


async def test_an_answer_that_comes_too_late_is_a_timeout() -> None:
    async with serving(say_nothing) as server, client(total_timeout=0.1) as http:
        with pytest.raises(PatterConnectionError, match="did not answer in time") as caught:
            await http.send(get(server, is_repeatable=False))
        assert caught.value.code is ErrorCode.TIMEOUT
        with pytest.raises(PatterConnectionError, match="did not answer in time"):
            await http.send(get(server, is_repeatable=False), total_timeout=0.05)


async def test_an_answer_that_is_too_long_is_not_read() -> None:
    bomb = gzip.compress(b"\x00" * 5_000_000)
    async with (
        serving(answers(200, b"x" * 2000), answers(200, bomb, "Content-Encoding: gzip")) as server,
        client(max_body=1000) as http,
    ):
        for _ in range(2):
            with pytest.raises(PatterConnectionError, match="longer than 1000 bytes") as caught:
                await http.send(get(server))
            assert not caught.value.retryable
        assert len(server.requests) == 2


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "http://[broken/", "no scheme"])
async def test_an_address_that_is_none_is_our_error(url: str) -> None:
    async with client() as http:
        with pytest.raises(PatterConnectionError, match="not an address") as caught:
            await http.send(HttpRequest("GET", url))
        assert caught.value.code is ErrorCode.INPUT_VALIDATION
        with pytest.raises(PatterConnectionError, match="not an address"):
            await anext(http.stream(HttpRequest("GET", url)))


async def test_cancelling_is_not_an_answer() -> None:
    async with serving(say_nothing) as server, client() as http:
        sending = asyncio.create_task(http.send(get(server)))
        while not server.requests:
            await asyncio.sleep(0.001)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


# ----------------------------------------------------------------------------------------- exchanges


async def test_an_exchange_is_run_to_its_end() -> None:
    async with (
        serving(answers(200, b"one"), answers(404), answers(204)) as server,
        client() as http,
    ):

        def ask() -> Exchange[list[int]]:
            statuses = []
            for _ in range(3):
                answer = yield get(server)
                statuses.append(answer.status)
            return statuses

        assert await http.run(ask()) == [200, 404, 204]


async def test_what_an_exchange_makes_of_a_refusal_is_raised() -> None:
    body = f'{{"message": "no account for {KEY}", "code": 20003}}'.encode()
    async with serving(answers(401, body)) as server, client() as http:

        def ask() -> Exchange[None]:
            answer = yield get(server)
            raise refusal("acme", answer.status, answer.body.decode(), headers=answer.headers)

        with pytest.raises(AuthenticationError) as caught:
            await http.run(ask())
        assert str(caught.value) == "acme answered 401: no account for *** (code 20003)"


async def test_an_exchange_may_go_on_after_a_lost_answer() -> None:
    async with serving(hang_up, answers(200, b"found")) as server, client() as http:

        def ask() -> Exchange[bytes]:
            try:
                yield get(server, is_repeatable=False)
            except PatterConnectionError:
                answer = yield get(server)
                return answer.body
            return b"never"

        assert await http.run(ask()) == b"found"


async def test_an_exchange_that_asks_for_nothing_connects_to_nothing() -> None:
    def ask() -> Exchange[str]:
        if KEY == "":
            yield HttpRequest("GET", "http://127.0.0.1:1/")
        return "known"

    async with client() as http:
        assert await http.run(ask()) == "known"


async def test_an_exchange_is_closed_when_its_runner_is_cancelled() -> None:
    closed: list[str] = []
    async with serving(say_nothing) as server, client() as http:

        def ask() -> Exchange[None]:
            try:
                yield get(server)
            finally:
                closed.append("closed")

        running = asyncio.create_task(http.run(ask()))
        while not server.requests:
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert closed == ["closed"]


# ------------------------------------------------------------------------------------------- streams


async def test_a_stream_gives_pieces_as_they_arrive() -> None:
    go_on = asyncio.Event()

    async def trickle(peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await go_on.wait()
        await peer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with serving(trickle) as server, client() as http:
        pieces: list[bytes] = []
        async for piece in http.stream(get(server)):
            pieces.append(piece)
            go_on.set()
        assert pieces == [b"one", b"two"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (429, RateLimitError), (400, PatterConnectionError)],
)
async def test_a_refused_stream_raises_what_the_vendor_said(
    status: int, kind: type[Exception]
) -> None:
    body = f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'.encode()
    async with serving(answers(status, body)) as server, client() as http:
        with pytest.raises(
            kind, match=rf"acme answered {status}: Incorrect API key provided: \*\*\*$"
        ):
            await anext(http.stream(replace(get(server), is_repeatable=False)))


async def test_a_stream_is_repeated_before_its_first_byte_only() -> None:
    async def break_off(peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        peer.writer.transport.abort()

    async with serving(answers(503), break_off) as server, client() as http:
        stream = http.stream(get(server))
        first = await anext(stream)
        assert first == b"half"
        with pytest.raises(PatterConnectionError, match="lost"):
            await anext(stream)
        assert len(server.requests) == 2


async def test_a_stream_that_does_not_begin_or_does_not_end_is_given_up() -> None:
    async def begin_only(peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.Event().wait()

    async def head_only(peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        await asyncio.Event().wait()

    async with serving(say_nothing, head_only, begin_only) as server, client() as http:
        request = get(server, is_repeatable=False)
        for _ in range(2):
            with pytest.raises(PatterConnectionError, match="did not answer in time"):
                await anext(http.stream(request, first_byte=0.05))
        stream = http.stream(request, first_byte=5, total=0.1)
        assert await anext(stream) == b"half"
        with pytest.raises(PatterConnectionError, match="did not answer in time"):
            await anext(stream)


async def test_closing_a_stream_hangs_up() -> None:
    gone = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await peer.write(b"3\r\none\r\n")
                await asyncio.sleep(0.001)
        except ConnectionError:
            gone.set()
            raise

    async with serving(endless) as server, client() as http:
        async with aclosing(http.stream(get(server))) as stream:
            assert (await anext(stream)).startswith(b"one")
        await gone.wait()
