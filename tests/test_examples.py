"""Each file of examples/ runs as it is written, and does on a simulated line what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from getpatter.testing.callers import Caller, Program, hang_up, listen, offline_voice, press, say
from getpatter.testing.fake_llm import Calls, listed
from getpatter.testing.fake_llm import Says as ModelSays
from getpatter.testing.fake_llm_chat import FakeOpenAI
from getpatter.testing.twilio import SimulatedCall
from tests.seeds_support.extract import Example
from tests.seeds_support.outside import PORT, Outside
from tests.seeds_support.scenarios import SETTINGS
from tests.seeds_support.stage import Stage, until_it_listens

FOLDER: Final = Path(__file__).parents[1] / "examples"
VOICE_URL: Final = f"https://{SETTINGS['WEBHOOK_URL']}/webhooks/twilio/voice"
needs_speech = pytest.mark.skipif(
    find_spec("pocketsphinx") is None or find_spec("espeakng_loader") is None,
    reason="these examples listen and speak: pip install 'getpatter[offline]'",
)


def _serve(
    name: str, folder: Path, caller: Program, model: FakeOpenAI | None = None
) -> SimulatedCall:
    """Run an example as a program; somebody rings it; then Ctrl-C."""
    source = (FOLDER / name).read_text(encoding="utf-8")
    calls: list[SimulatedCall] = []
    with Stage(folder, SETTINGS) as stage, Outside(SETTINGS) as outside:
        os.environ["TWILIO_BASE_URL"] = outside.twilio.base_url
        if model is not None:
            outside.do(model.__aenter__())
            os.environ["OPENAI_BASE_URL"] = model.base_url

        async def ring() -> None:
            call = outside.twilio.ring(caller, voice_url=VOICE_URL)
            calls.append(call)
            await call.ended()

        async def world() -> None:
            await until_it_listens(PORT)
            await outside.beside(ring())

        stage.run_while(Example(name, source, name, 1), world, limit=60)
        if model is not None:
            outside.do(model.__aexit__(None, None, None))
        assert not outside.twilio.problems
    return calls[0]


def answers(folder: Path) -> None:
    """It greets, and repeats the order."""
    caller = Caller(
        listen(), say("mushroom pizza please"), listen(), hang_up(), voice=offline_voice
    )
    call = _serve("01_answer.py", folder, caller)
    heard = call.tape().heard_spans(gap_ms=700)
    assert len(heard) == 2, "a greeting and an answer"
    assert len(call.tape().answer_times()) == 1


def takes_keys(folder: Path) -> None:
    """A key, words, and a key that ends the call: the agent hangs up after its goodbye."""
    caller = Caller(
        listen(), press("1"), listen(), say("the address please"), listen(), press("9"),
        voice=offline_voice,
    )  # fmt: skip
    call = _serve("02_menu_with_keys.py", folder, caller)
    assert call.hung_up_by == "api"
    greeting, hours, address, goodbye = call.tape().heard_spans(gap_ms=700)
    rate = call.tape().sample_rate
    assert greeting.end - greeting.start > 3 * rate
    assert hours.end - hours.start > 3 * rate, "both pieces of the answer"
    assert address.end - address.start > 2 * rate
    assert goodbye.end - goodbye.start > 1 * rate, "it was heard whole"


def uses_tools(folder: Path) -> None:
    """It looks for a table, books it, and hangs up by itself after its goodbye."""
    evening = {"time": "20:00:00", "name": "Ada"}
    script = [
        ModelSays("One moment.", calls=[Calls("free_tables", {"earliest": "20:00:00"})]),
        ModelSays(calls=[Calls("book_table", evening)]),
        ModelSays("Your table is booked."),
        ModelSays("Goodbye, until tonight.", calls=[Calls("end_call", {"reason": "booked"})]),
    ]
    caller = Caller(
        listen(), say("at eight please"), listen(gap_ms=1500), say("goodbye"), listen(),
        voice=offline_voice,
    )  # fmt: skip
    service = FakeOpenAI(script, key=SETTINGS["OPENAI_API_KEY"])
    call = _serve("04_tools.py", folder, caller, service)
    assert call.hung_up_by == "api"
    messages = listed(service.bodies[2]["messages"])
    told = [each["content"] for each in messages if each["role"] == "tool"]
    assert told == ['["20:00","21:00"]', '{"booked":"20:00","name":"Ada"}']


def is_a_test_itself(folder: Path) -> None:
    """Whoever runs pytest finds its test, and the test passes."""
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(FOLDER / "03_test_your_agent.py")],
        capture_output=True,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout


SCENARIOS: Final[dict[str, Callable[[Path], None]]] = {
    "01_answer.py": answers,
    "02_menu_with_keys.py": takes_keys,
    "03_test_your_agent.py": is_a_test_itself,
    "04_tools.py": uses_tools,
}
"""Example -> what happens to it."""


@needs_speech
@pytest.mark.parametrize("name", SCENARIOS)
def test_example_runs(name: str, tmp_path: Path) -> None:
    SCENARIOS[name](tmp_path)


def test_every_example_has_a_scenario_and_is_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in FOLDER.glob("*.py")}
    assert set(lengths) == set(SCENARIOS)
    assert max(lengths.values()) < 60


def test_the_first_example_is_the_program_of_the_readme() -> None:
    """The README shows the example, not something like it."""
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    example = (FOLDER / "01_answer.py").read_text(encoding="utf-8")
    shared = example[example.index("import asyncio") :].split("\n\n\nif __name__")[0]
    told = [line for line in shared.splitlines() if line and '"""' not in line]
    missing = [line for line in told if line not in readme.splitlines()]
    assert not missing
