"""A model asks another agent: over a real socket, which sees the question and no more than a hash of the caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from getpatter import hash_caller
from getpatter.agent import Agent, Makers, build_agent
from getpatter.agent_parts import ConsultConfig
from getpatter.net.addresses import judge_url
from getpatter.runtime.text_call import TextCall, TextOptions
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from tests.support.models import ActingLLM, in_turn, wants

CALLER: Final = "+15550009876"
QUESTION: Final = "What does a filling cost?"


@dataclass
class Specialist:
    """An HTTP server that answers what a test tells it."""

    answer: Callable[[dict[str, Any]], tuple[int, bytes]]
    delay: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.headers.append(head)
        size = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        self.asked.append(json.loads(await reader.readexactly(size)))
        await asyncio.sleep(self.delay)
        status, body = self.answer(self.asked[-1])
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\n{length}".encode() + body)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def url(self, path: str = "/ask") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def specialist(
    answer: Callable[[dict[str, Any]], tuple[int, bytes]], delay: float = 0.0
) -> AsyncIterator[Specialist]:
    made = Specialist(answer, delay)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        await asyncio.gather(*made.tasks)


def agent(llm: ActingLLM, consult: ConsultConfig) -> Agent:
    return build_agent(
        "You are a desk.", None, stt=ScriptedSTT(()), tts=ScriptedTTS(), llm=llm, consult=consult
    )


async def asked(consult: ConsultConfig) -> tuple[str, list[str]]:
    """What the model is told, and all that the caller hears."""
    name = consult.tool_name
    llm = ActingLLM(in_turn([wants(name, request=QUESTION)], ["Fifty."]), first=0)
    spoken: list[str] = []
    options = TextOptions(caller=CALLER)
    async with TextCall(
        agent(llm, consult), options=options, writer=lambda each: each, spoken=spoken.append
    ) as call:
        call.say("what does it cost, I am Ann and my number is 5550009876")
        await call.quiet()
    return llm.requests[1].results[0], spoken


async def test_another_agent_is_asked_and_learns_no_number() -> None:
    async with specialist(lambda asked: (200, b'{"answer": "50 euros"}')) as other:
        consult = ConsultConfig(
            url=other.url(), headers={"X-Key": "made-up"}, allow_loopback=True, tool_name="ask_lab"
        )
        told, spoken = await asked(consult)
    assert told == "50 euros"
    assert spoken[-1] == "Fifty."
    (body,) = other.asked
    assert body["request"] == QUESTION
    assert body["caller_hash"] == hash_caller(CALLER)
    assert set(body) == {"request", "call_id", "caller_hash"}
    assert "5550009876" not in json.dumps(body) + other.headers[0]
    assert "x-key: made-up" in other.headers[0].lower()


async def test_a_completions_service_is_asked_in_its_own_form() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "50 euros"}}]}
    async with specialist(lambda asked: (200, json.dumps(body).encode())) as other:
        service = {"base_url": other.url("/v1"), "model": "lab-1", "api_key": "made-up"}
        told, _ = await asked(ConsultConfig(openai_compatible=service, allow_loopback=True))
    assert told == "50 euros"
    assert other.asked == [
        {
            "model": "lab-1",
            "messages": [{"role": "user", "content": QUESTION}],
            "user": hash_caller(CALLER),
        }
    ]
    assert other.headers[0].startswith("POST /v1/chat/completions ")
    assert "authorization: bearer made-up" in other.headers[0].lower()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"just text", "just text"),
        (b'{"text": "t"}', "t"),
        (b'"quoted"', "quoted"),
        (b'{"price": 50}', '{"price":50}'),
    ],
)
async def test_forms_of_an_answer(body: bytes, told: str) -> None:
    async with specialist(lambda asked: (200, body)) as other:
        assert (await asked(ConsultConfig(url=other.url(), allow_loopback=True)))[0] == told


async def test_the_caller_hears_something_while_it_takes_long() -> None:
    async with specialist(lambda asked: (200, b"50"), delay=0.6) as other:
        consult = ConsultConfig(
            url=other.url(),
            allow_loopback=True,
            reassurance={"message": "I am asking the lab.", "after_ms": 100},
        )
        told, spoken = await asked(consult)
    assert told == "50"
    assert spoken == ["I am asking the lab.", "Fifty."]


async def test_failures_are_answers_without_internals() -> None:
    async with specialist(lambda asked: (500, b"secret trace")) as other:
        told, _ = await asked(ConsultConfig(url=other.url(), allow_loopback=True))
        assert told.startswith('{"error"')
        assert "secret" not in told
        service = {"base_url": other.url(), "model": "m"}
        other.answer = lambda asked: (200, b"{}")
        told, _ = await asked(ConsultConfig(openai_compatible=service, allow_loopback=True))
        assert told.startswith('{"error"')
    async with specialist(lambda asked: (200, b"late"), delay=0.8) as slow:
        told, _ = await asked(ConsultConfig(url=slow.url(), allow_loopback=True, timeout_s=0.3))
        assert told.startswith('{"error"')


async def test_a_target_that_is_not_public_is_refused_at_the_call_too() -> None:
    async with specialist(lambda asked: (200, b"50")) as other:
        told, _ = await asked(ConsultConfig(url=f"http://localhost:{other.port}/ask"))
    assert told.startswith('{"error"')
    assert not other.asked


@pytest.mark.parametrize(
    "consult",
    [
        ConsultConfig(url="http://127.0.0.1/ask"),
        ConsultConfig(url="https://user:pass@lab.example/ask"),
        ConsultConfig(openai_compatible={"base_url": "http://10.0.0.1/v1", "model": "m"}),
    ],
)
def test_what_can_be_judged_is_judged_when_the_agent_is_made(consult: ConsultConfig) -> None:
    def judge(url: str) -> None:
        judge_url(url)

    with pytest.raises(ValueError, match="the URL"):
        build_agent(
            "x", Makers(judge_url=judge), stt=ScriptedSTT(()), tts=ScriptedTTS(), consult=consult
        )


def test_leave_to_ask_this_machine_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    agent(ActingLLM(in_turn([])), ConsultConfig(url="http://127.0.0.1/ask", allow_loopback=True))
    assert caplog.messages == []  # nobody judges here
    build_agent(
        "x",
        Makers(judge_url=lambda _: None),
        stt=ScriptedSTT(()),
        tts=ScriptedTTS(),
        consult=ConsultConfig(url="http://127.0.0.1/ask", allow_loopback=True),
    )
    assert caplog.messages == ["agent.consult_unchecked tool=consult_agent"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": "https://a.example", "openai_compatible": {"base_url": "x", "model": "m"}},
        {"openai_compatible": {"model": "m"}},
        {"url": "ftp://a.example"},
        {"url": "https://a.example", "tool_name": "a b"},
    ],
)
def test_what_is_no_target(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ConsultConfig"):
        ConsultConfig(**given)
