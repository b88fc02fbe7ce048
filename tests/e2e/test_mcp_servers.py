"""Tools that servers lend: real servers of the official SDK, as programs and over a socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.agent_parts import MCPServerConfig, mcp_server_from
from getpatter.engines.openai import Realtime
from getpatter.runtime.text_call import TextCall
from getpatter.testing.callers import Polite, babble
from getpatter.testing.fake_realtime import Calls, FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.tools import Tool
from tests.support.models import ActingLLM, Request, in_turn, wants

SERVER: Final = str(Path(__file__).parents[1] / "support" / "mcp_server.py")


def program(**more: Any) -> MCPServerConfig:
    return MCPServerConfig(command=sys.executable, args=[SERVER], **more)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL) as server:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
        server.terminate()


def agent(llm: ActingLLM, servers: list[Any], **options: Any) -> Agent:
    given: dict[str, Any] = {"stt": ScriptedSTT(()), "tts": ScriptedTTS(), "llm": llm} | options
    return build_agent("You know the weather.", None, mcp_servers=servers, **given)


async def talk(made: Agent, *said: str) -> list[str]:
    """What the agent said."""
    async with TextCall(made, writer=lambda each: each) as call:
        for text in said:
            call.say(text)
            await call.quiet()
        return [str(line["text"]) for line in call.history if line["role"] == "assistant"]


def names(request: Request) -> list[str]:
    return [each["function"]["name"] for each in request.tools or ()]


async def test_a_program_lends_its_tools_and_ends_with_the_call(tmp_path: Path) -> None:
    note = tmp_path / "note"
    llm = ActingLLM(in_turn([wants("forecast", city="Rome", days=2)], ["Sunny."]), first=0)
    servers = [program(env={"NOTE": str(note)})]
    assert await talk(agent(llm, servers), "the weather in Rome") == ["Sunny."]
    first, second = llm.requests
    assert second.results == ["Rome: sun for 2 days"]
    assert names(first)[:2] == ["transfer_call", "end_call"]
    assert {"forecast", "broken", "slow", "weather_end_call"} <= set(names(first))
    assert note.read_text() == "ended in order"


async def test_a_server_at_a_url_does_the_same(address: str) -> None:
    llm = ActingLLM(in_turn([wants("forecast", city="Oslo")], ["Sunny."]), first=0)
    assert await talk(agent(llm, [address]), "the weather in Oslo") == ["Sunny."]
    assert llm.requests[1].results == ["Oslo: sun for 1 days"]


async def test_names_that_clash_get_the_servers_name(address: str) -> None:
    llm = ActingLLM(
        in_turn([wants("weather_end_call")], [wants("two_forecast", city="Bern")], ["Ok."]), first=0
    )
    tools = [Tool("broken", handler=lambda args, ctx: "mine")]
    made = agent(llm, [program(), MCPServerConfig(url=address, name="two")], tools=tools)
    await talk(made, "the weather")
    offered = names(llm.requests[0])
    assert len(offered) == len(set(offered))
    assert {"broken", "weather_broken", "two_broken", "weather_forecast", "two_forecast"} <= set(
        offered
    )
    assert "forecast" not in offered
    assert llm.requests[2].results == ["the server's own", "Bern: sun for 1 days"]


async def test_what_goes_wrong_at_a_server_is_an_answer_for_the_model() -> None:
    llm = ActingLLM(
        in_turn(
            [wants("broken", city="Bari")],
            [wants("forecast", town="Bari")],
            [wants("slow")],
            [wants("leave")],
            [wants("forecast", city="Bari")],
            ["I cannot."],
        ),
        first=0,
    )
    assert await talk(agent(llm, [program(timeout_s=4.0)]), "the weather") == ["I cannot."]
    failed, unfit, late, gone, after = llm.requests[-1].results
    assert failed.startswith('{"error"')
    assert "broken" in failed  # what the server says of it
    assert "city" in unfit
    for answer in (late, gone, after):
        assert answer.startswith('{"error"'), answer


@pytest.mark.parametrize(
    "server",
    [
        MCPServerConfig(command="no-such-program-anywhere"),
        MCPServerConfig(command=sys.executable, args=["-c", "raise SystemExit(1)"]),
        MCPServerConfig(url="http://127.0.0.1:9/mcp"),
    ],
    ids=["missing", "ends", "nobody"],
)
async def test_a_call_goes_on_without_a_server_that_does_not_connect(
    server: MCPServerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    llm = ActingLLM(in_turn(["Hello there."]), first=0)
    assert await talk(agent(llm, [server, program()]), "hello") == ["Hello there."]
    assert [each for each in caplog.messages if each.startswith("mcp.lost")]
    assert "forecast" in names(llm.requests[0])


async def test_a_server_that_takes_too_long_is_not_waited_for() -> None:
    llm = ActingLLM(in_turn(["Hello there."]), first=0)
    began = asyncio.get_running_loop().time()
    assert await talk(agent(llm, [program(env={"SLOW_START": "60"})]), "hello") == ["Hello there."]
    assert asyncio.get_running_loop().time() - began < 15
    assert "forecast" not in names(llm.requests[0])


async def test_an_engine_has_the_tools_before_it_hears_anything() -> None:
    service = FakeRealtime(
        heard=["The weather."], says=[Calls([("forecast", {"city": "Rome"})]), Says("Sunny.")]
    )
    engine = in_memory(Realtime(service.key), service)
    made = build_agent(
        "You know.", None, engine=engine, first_message="Hi.", mcp_servers=[program()]
    )
    async with Simulation(made) as phone:
        call = await phone.talk(Polite("the weather please", voice=babble))
    assert phone.transcript(call.sid)[-1] == ("assistant", "Sunny.")
    first, *_ = service.of("session.update")
    assert "forecast" in [each["name"] for each in first["session"]["tools"]]
    assert "Rome: sun" in str(service.of("conversation.item.create"))
    assert not service.problems


def test_the_forms_of_a_server() -> None:
    assert mcp_server_from("npx -y 'a server'") == MCPServerConfig(
        command="npx", args=("-y", "a server")
    )
    assert mcp_server_from(["npx", "-y"]) == MCPServerConfig(command="npx", args=("-y",))
    assert mcp_server_from("https://a.example/mcp") == MCPServerConfig(url="https://a.example/mcp")
    given = {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer x"}, "name": "a"}
    assert mcp_server_from(given).headers == {"Authorization": "Bearer x"}
    assert "Bearer" not in repr(mcp_server_from(given))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (5, TypeError),
        ("", TypeError),
        ({"url": "https://a.example", "command": "x"}, ValueError),
        ({"uri": "https://a.example"}, ValueError),
        ("ftp://a.example", ValueError),
        ({"command": "x", "timeout_s": 0}, ValueError),
        ({"command": "x", "args": "y"}, TypeError),
        ({"command": "x", "name": "a b"}, ValueError),
    ],
)
def test_what_is_no_server(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        agent(ActingLLM(in_turn([])), [value])


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = (
        "import sys; sys.modules['mcp'] = None; from getpatter.agent import Agent, build_agent\n"
        "try: build_agent('x', None, engine=type('E', (), {'kind': 'e'})(), mcp_servers=['x y'])\n"
        "except ImportError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert "pip install 'getpatter[mcp]'" in ran.stdout
