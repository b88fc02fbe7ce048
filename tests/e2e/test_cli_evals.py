"""`getpatter eval run`, `call --simulated` and `telemetry`, as processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from getpatter.testing.fake_llm import Says
from getpatter.testing.fake_llm_chat import FakeOpenAI
from tests.e2e.cli_kit import getpatter, settings_but_ours

DESK: Final = """
from getpatter import Patter, Tool
from getpatter.evals import FakeSTT, FakeTTS, ScriptedLLMProvider


class Desk:
    first_message = "Hi."

    def __init__(self):
        self.heard = 0

    async def reply(self, text):
        self.heard += 1
        return f"{self.heard}: {text}"


async def agent():
    return Patter().agent(
        system_prompt="You are a desk.", first_message="Welcome.", stt=FakeSTT(), tts=FakeTTS(),
        llm=ScriptedLLMProvider(["Which day?"]),
    )


ready = Desk()
wrong = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    return tmp_path


def suite(folder: Path, *cases: dict[str, Any], name: str = "suite.json") -> str:
    whole = {"expected_behavior": "", "rubric": ""}
    text = json.dumps({"name": "desk", "cases": [whole | case for case in cases]})
    (folder / name).write_text(text, encoding="utf-8")
    return name


def said(text: str, *expected: str) -> list[dict[str, Any]]:
    return [{"user": text, "expected_contains": list(expected)}]


async def test_a_suite_is_judged_and_reported(folder: Path) -> None:
    judged = {"expected_behavior": "counts", "rubric": "be fair"}
    path = suite(
        folder,
        {"name": "good", "turns": said("tea", "1: tea")} | judged,
        {"name": "poor", "turns": said("tea")} | judged,
    )
    script = [Says('{"score": 0.8, "reasoning": "ok"}'), Says('{"score": 0.5, "reasoning": "no"}')]
    async with FakeOpenAI(script) as service:
        settings = {"OPENAI_API_KEY": service.key, "OPENAI_BASE_URL": service.base_url}
        ended = await getpatter(
            "eval", "run", path, "--agent", "desk:Desk", "--judge-model", "judge-9",
            folder=folder, settings=settings,
        )  # fmt: skip
        assert [body["model"] for body in service.bodies] == ["judge-9", "judge-9"]
        assert "1 of 2 cases failed: poor" in ended.problem(1)
        report = json.loads(ended.out)
        assert [case["passed"] for case in report["cases"]] == [True, False]
        assert report["cases"][0]["transcript"][-1]["text"] == "1: tea"
        assert service.key not in ended.out + ended.err
        service.script.append(Says('{"score": 0.5, "reasoning": "no"}'))
        service.script.append(Says('{"score": 0.5, "reasoning": "no"}'))
        lenient = await getpatter(
            "eval", "run", path, "--agent", "desk:ready", "--pass-threshold", "0.5",
            "--output", "report.json", folder=folder, settings=settings,
        )  # fmt: skip
    written = json.loads((folder / "report.json").read_text())
    assert "the agent did not say" not in str(written["cases"][0]["reasoning"])
    assert (lenient.status, lenient.err) == (0, ""), lenient
    assert "2 of 2 passed" in lenient.out
    assert "\x1b" not in lenient.out


async def test_an_agent_of_a_coroutine_function_is_tried_anew_for_each_case(folder: Path) -> None:
    path = suite(
        folder,
        {"name": "one", "turns": said("a haircut", "which day")},
        {"name": "two", "turns": said("a haircut", "which day")},
    )
    ended = await getpatter("eval", "run", path, "--agent", "desk:agent", folder=folder)
    assert (ended.status, ended.err) == (0, ""), ended
    assert json.loads(ended.out)["pass_rate"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("suite.json",), "--agent"),
        (("suite.json", "--agent", "desk"), "MODULE:ATTR"),
        (("suite.json", "--agent", "none:x"), "no module 'none'"),
        (("suite.json", "--agent", "desk:none"), "no 'none'"),
        (("suite.json", "--agent", "desk:wrong"), "desk:wrong is int"),
        (("none.json", "--agent", "desk:Desk"), "cannot read none.json"),
        (("desk.py", "--agent", "desk:Desk"), "not JSON"),
        (("suite.json", "--agent", "desk:Desk", "--pass-threshold", "7"), "pass_threshold"),
        (("suite.json", "--agent", "desk:Desk", "--output", "no/where"), "cannot be written"),
        (("judged.json", "--agent", "desk:Desk"), "OPENAI_API_KEY"),
    ],
)
async def test_wrong_usage_is_told_in_one_line(
    arguments: tuple[str, ...], says: str, folder: Path
) -> None:
    judged = {"name": "a", "turns": said("b"), "rubric": "r"}
    suite(folder, judged, name="judged.json")
    suite(folder, {"name": "a", "turns": said("b")})
    ended = await getpatter("eval", "run", *arguments, folder=folder)
    assert says in ended.problem(2)
    assert not ended.out


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
async def test_an_interrupted_run_says_so(folder: Path) -> None:
    (folder / "slow.py").write_text(
        "import asyncio\nclass Slow:\n    async def reply(self, text):\n"
        "        print('asked', flush=True)\n        await asyncio.sleep(60)\n"
    )
    path = suite(folder, {"name": "a", "turns": said("b")})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "getpatter", "eval", "run", path, "--agent", "slow:Slow"),
        cwd=folder,
        env=settings_but_ours(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"asked\n"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"getpatter: interrupted\n")


async def test_the_key_of_the_judge_may_stand_in_a_file(folder: Path) -> None:
    path = suite(folder, {"name": "a", "turns": said("b"), "rubric": "r"})
    async with FakeOpenAI([Says('{"score": 1, "reasoning": "ok"}')]) as service:
        (folder / ".env").write_text(f"OPENAI_API_KEY={service.key}\n")
        ended = await getpatter(
            "eval", "run", path, "--agent", "desk:Desk",
            folder=folder, settings={"OPENAI_BASE_URL": service.base_url},
        )  # fmt: skip
    assert (ended.status, ended.err) == (0, ""), ended


# ---------------------------------------------------------------------------------------------- call


async def test_a_call_in_the_terminal(folder: Path) -> None:
    ended = await getpatter("call", "--simulated", "desk:agent", folder=folder, typed="a haircut\n")
    assert (ended.status, ended.err) == (0, ""), ended
    assert "Agent: Welcome." in ended.out
    assert "Agent: Which day?" in ended.out
    replies = await getpatter(
        "call", "--simulated", "desk:Desk", folder=folder, typed="tea\n/quit\n"
    )
    assert "Agent: Hi." in replies.out
    assert "Agent: 1: tea" in replies.out


async def test_a_call_without_an_agent_of_ones_own(folder: Path) -> None:
    alone = await getpatter("call", "--simulated", folder=folder, typed="tea\n")
    assert "Agent: You said: tea" in alone.out
    async with FakeOpenAI([Says("With milk?")]) as service:
        settings = {"OPENAI_API_KEY": service.key, "OPENAI_BASE_URL": service.base_url}
        ended = await getpatter(
            "call", "--simulated", folder=folder, typed="tea\n", settings=settings
        )
    assert "Agent: With milk?" in ended.out


async def test_only_simulated_calls_are_made_here(folder: Path) -> None:
    assert "--simulated" in (await getpatter("call", "desk:agent", folder=folder)).problem(2)
    assert "no module" in (await getpatter("call", "--simulated", "a:b", folder=folder)).problem(2)


async def test_there_is_no_telemetry(folder: Path) -> None:
    ended = await getpatter("telemetry", folder=folder)
    assert (ended.status, ended.err) == (0, "")
    assert "no telemetry" in ended.out


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such script name")
async def test_debug_shows_where_it_went_wrong(folder: Path) -> None:
    (folder / "broken.py").write_text("import not_there_at_all\nagent = 1\n")
    path = suite(folder, {"name": "a", "turns": said("b")})
    plain = await getpatter("eval", "run", path, "--agent", "broken:agent", folder=folder)
    assert "not_there_at_all" in plain.problem(2)
    told = await getpatter("--debug", "eval", "run", path, "--agent", "broken:agent", folder=folder)
    assert "Traceback" in told.err
    assert 'broken.py", line 1' in told.err
