"""What `getpatter init` writes: programs that run, settings that are read back as they were."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from getpatter.agent import Agent
from getpatter.cli.init_plan import CARRIERS, MODES, SERVICES, Kind, Plan, files, is_secret, quoted

pytestmark = pytest.mark.timeout(30)  # the first program loads every vendor's module

_USUAL: dict[Kind, str] = {kind: next(iter(SERVICES[kind])) for kind in MODES["pipeline"]}
_PIPELINES = [{**_USUAL, kind: vendor} for kind in MODES["pipeline"] for vendor in SERVICES[kind]]
_ENGINES: list[dict[Kind, str]] = [{"engine": vendor} for vendor in SERVICES["engine"]]


def loaded(folder: Path, text: str) -> ModuleType:
    """The program, as a module that is not `__main__`."""
    path = folder / "main.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("made_by_init", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "services", [*_PIPELINES, *_ENGINES], ids=lambda each: "-".join(each.values())
)
def test_every_choice_makes_a_program_that_makes_its_agent(
    services: Mapping[Kind, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan("shop", "twilio", services)
    for name in plan.variables:
        monkeypatch.setenv(name, "made-up")
    agent = loaded(tmp_path, files(plan, {})["main.py"]).agent()
    assert isinstance(agent, Agent)
    assert agent.first_message
    for kind, choice in plan.choices.items():
        module = importlib.import_module("getpatter")
        assert isinstance(getattr(agent, kind), getattr(module, choice.made_by))


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_is_needed_is_listed_and_nothing_secret_is_in_the_example(carrier: str) -> None:
    plan = Plan("shop", carrier, _USUAL)
    values = {name: f"value-of-{name}" for name in plan.variables}
    made = files(plan, values)
    assert dotenv_values(stream=io.StringIO(made[".env"])) == values
    example = dotenv_values(stream=io.StringIO(made[".env.example"]))
    assert list(example) == plan.variables
    assert not any(example.values())
    assert ".env" in made[".gitignore"].split()
    for name, text in made.items():
        assert "value-of" not in text or name == ".env"
        assert all(each in text for each in plan.variables) or name not in {"README.md", ".env"}
    compile(made["main.py"], "main.py", "exec")


def test_a_variable_of_two_services_is_listed_once() -> None:
    plan = Plan("shop", "plivo", {"stt": "openai", "llm": "openai", "tts": "openai"})
    assert plan.variables.count("OPENAI_API_KEY") == 1


def test_keys_and_tokens_are_secret() -> None:
    everything = {each for choice in CARRIERS.values() for each in choice.variables}
    everything |= {
        each for kind in SERVICES.values() for choice in kind.values() for each in choice.variables
    }
    shown = {each for each in everything if not is_secret(each)}
    assert shown == {
        "TWILIO_ACCOUNT_SID",
        "TELNYX_CONNECTION_ID",
        "TELNYX_PUBLIC_KEY",
        "PLIVO_AUTH_ID",
        "ELEVENLABS_AGENT_ID",
    }


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
def test_any_value_is_read_back_as_it_was(value: str) -> None:
    read = dotenv_values(stream=io.StringIO(f"A={quoted(value)}\nB=b\n"), interpolate=False)
    assert read == {"A": value, "B": "b"}


def test_a_value_of_two_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="one line"):
        quoted("a\nB=b")
