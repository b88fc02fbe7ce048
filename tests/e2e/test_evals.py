"""The default judge asks its vendor over real sockets; agents are tried with a vendor's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from getpatter import AuthenticationError, OpenAILLM, Patter
from getpatter.evals import EvalCase, EvalRunner, EvalSession, EvalTurn, FakeSTT, FakeTTS, LLMJudge
from getpatter.testing.fake_llm import Says
from getpatter.testing.fake_llm_chat import FakeOpenAI

if TYPE_CHECKING:
    import pytest

CASE = EvalCase("hours", (EvalTurn("when are you open"),), "says the hours", "")


class Clerk:
    async def reply(self, text: str) -> str:
        return "From eight to six."


async def test_the_judge_asks_for_json_and_gets_one_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Says('{"score": 0.8, "reasoning": "said"}')
    async with FakeOpenAI([Says("Well, I like it."), verdict]) as service:
        monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
        result = await EvalRunner(LLMJudge("judge-1", service.key)).run_case(CASE, Clerk)
        assert result.passed, result
        first, second = service.bodies
        assert first["model"] == "judge-1"
        assert first["response_format"] == {"type": "json_object"}
        assert len(second["messages"]) == len(first["messages"]) + 2  # type: ignore[arg-type]
        wrong = await EvalRunner(LLMJudge(api_key="sk-wrong-key")).run_case(CASE, Clerk)
        assert wrong.error is not None
        assert wrong.error.startswith(AuthenticationError.__name__)
        assert "sk-wrong-key" not in wrong.error


async def test_without_a_key_the_case_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = await EvalRunner().run_case(CASE, Clerk)
    assert result.error is not None
    assert "OPENAI_API_KEY" in result.error


async def test_an_agent_is_tried_with_its_own_model() -> None:
    async with FakeOpenAI([Says("From eight to six.")]) as service:
        llm = OpenAILLM(service.key, base_url=service.base_url)
        agent = Patter().agent(
            system_prompt="You are a desk.", stt=FakeSTT(), tts=FakeTTS(), llm=llm
        )
        async with EvalSession(agent) as session:
            turn = await session.say("when are you open")
        assert turn.agent_text == "From eight to six."
        await llm.close()
