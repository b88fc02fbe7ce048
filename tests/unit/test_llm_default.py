"""Who answers where a pipeline names nobody."""

from __future__ import annotations

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.llm.openai import DEFAULT_MODEL, LLM
from getpatter.makers import standard_llm
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS

KEY = "made-up-key-0123456789"


def pipeline(**options: object) -> Agent:
    return build_agent("Be brief.", stt=ScriptedSTT([]), tts=ScriptedTTS(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("named", "used"),
    [(None, DEFAULT_MODEL), ("gpt-4.1", "gpt-4.1"), ("gpt-realtime-mini", DEFAULT_MODEL)],
)
def test_the_agents_model_if_it_reads_and_writes(
    named: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    options = {} if named is None else {"model": named}
    llm = standard_llm(pipeline(**options)).llm
    assert isinstance(llm, LLM)
    assert llm.model == used


def test_without_a_key_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match=r"llm.*OPENAI_API_KEY"):
        standard_llm(pipeline())
