"""`getpatter mcp`: a program that speaks the Model Context Protocol makes a phone call."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from getpatter.cli import main
from getpatter.testing.callers import Polite, babble
from getpatter.testing.twilio import Callee, SimulatedTwilio
from tests.e2e.test_phone_tool import ADA, free_port

if TYPE_CHECKING:
    import pytest

DESK: Final = """
import os
from getpatter import Patter, PatterTool, Twilio
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS

print("programs may print")
phone = Patter(
    carrier=Twilio(os.environ["SID"], os.environ["TOKEN"], base_url=os.environ["API"]),
    phone_number=os.environ["NUMBER"],
    webhook_url="agent.example",
)
agent = {
    "stt": ScriptedSTT(["yes please"], final_delay=0.3),
    "tts": ScriptedTTS(0.02, ms_per_letter=20),
    "llm": ScriptedLLM(["Booked."], first_token_delay=0.05),
}
tool = PatterTool(phone, agent, dial_allow=["+1555*"])
nothing = 5
"""


def text_of(result: CallToolResult) -> str:
    (part,) = result.content
    assert isinstance(part, TextContent)
    return part.text


async def test_the_official_client_makes_a_call(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(DESK)
    async with SimulatedTwilio() as twilio:
        port = free_port()
        twilio.server = f"127.0.0.1:{port}"
        twilio.callees[ADA] = Callee(Polite("yes please", voice=babble, gap_ms=300), rings_s=0.1)
        ours = {
            "SID": twilio.account_sid,
            "TOKEN": twilio.auth_token,
            "API": twilio.base_url,
            "NUMBER": twilio.number,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        command = ["-m", "getpatter", "mcp", "desk:tool", "--port", str(port)]
        how = StdioServerParameters(
            command=sys.executable, args=command, env={**os.environ, **ours}, cwd=tmp_path
        )
        async with stdio_client(how) as (read, write), ClientSession(read, write) as client:
            hello = await client.initialize()
            (tool,) = (await client.list_tools()).tools
            result = await client.call_tool(
                tool.name, {"to": ADA, "goal": "Book a table.", "first_message": "Hi."}
            )
            refused = await client.call_tool(tool.name, {"to": "+445550001"})
            unknown = await client.call_tool("fly", {})
    assert hello.server_info.name == "getpatter"
    assert tool.name == "make_phone_call"
    assert tool.input_schema["required"] == ["to"]
    told = json.loads(text_of(result))
    assert told["status"] == "completed"
    assert told["transcript"] == [
        {"role": "agent", "text": "Hi."},
        {"role": "user", "text": "yes please"},
        {"role": "agent", "text": "Booked."},
    ]
    assert not result.is_error
    assert refused.is_error
    assert "dial_allow" in text_of(refused)
    assert unknown.is_error
    assert not twilio.problems


def test_what_is_no_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "numbers_only.py").write_text("nothing = 5\n")
    monkeypatch.chdir(tmp_path)
    assert main(["mcp", "numbers_only:nothing"]) == 2
    assert "not a PatterTool" in capsys.readouterr().err
