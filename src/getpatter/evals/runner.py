"""Runs suites: holds each conversation, has it judged, and writes the report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from getpatter.evals.cases import EvalCase, EvalSuite
from getpatter.evals.judge import JudgeResult, LLMJudge, Transcript
from getpatter.evals.targets import AgentFactory, Conversation

_DIGITS: Final = 3


class Judge(Protocol):
    """Who marks conversations: `LLMJudge`, or one of your own."""

    async def judge_case(self, case: EvalCase, transcript: Transcript) -> JudgeResult:
        """Mark `transcript`."""
        ...


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What became of a case."""

    case_name: str
    transcript: Sequence[Mapping[str, object]]
    """Items with `role` (`user`, `assistant`) and `text`; after an error, what was said before it."""
    judge: JudgeResult | None
    """The verdict; `None` after an error."""
    duration_s: float
    error: str | None = None
    """What was raised, in the agent or by the judge."""

    @property
    def passed(self) -> bool:
        """Whether the case went as it should."""
        return self.error is None and self.judge is not None and self.judge.passed

    def to_dict(self) -> dict[str, object]:
        """All fields and `passed`, ready for JSON."""
        return {
            "case_name": self.case_name,
            "passed": self.passed,
            "judge": asdict(self.judge) if self.judge is not None else None,
            "duration_s": round(self.duration_s, _DIGITS),
            "error": self.error,
            "transcript": [dict(each) for each in self.transcript],
        }


class EvalRunner:
    """Runs cases one after the other, each with an agent of its own."""

    def __init__(self, judge: Judge | None = None) -> None:
        """`judge`: an `LLMJudge()` unless given. It is first needed by a case that has something to judge."""
        self._judge = judge if judge is not None else LLMJudge()

    async def run(
        self, suite: EvalSuite, agent_factory: AgentFactory | object | None = None
    ) -> list[EvalResult]:
        """Run every case; results stand in the suite's order.

        Args:
            suite: The cases.
            agent_factory: Makes who is tried, anew for each case; an `Agent` stands for itself. A case that
                names an agent has that one.
        """
        return [await self.run_case(case, agent_factory) for case in suite.cases]

    async def run_case(
        self, case: EvalCase, agent_factory: AgentFactory | object | None = None
    ) -> EvalResult:
        """Run one case. What is raised in it becomes its `error`."""
        clock = asyncio.get_running_loop().time
        began = clock()
        conversation = Conversation(case)
        judged, error = None, None
        try:
            await conversation.hold(agent_factory)
            judged = await self._judged(case, conversation)
        except Exception as problem:  # noqa: BLE001 - the top of a case: the others run
            error = " ".join(f"{type(problem).__name__}: {problem}".split())
        return EvalResult(case.name, tuple(conversation.transcript), judged, clock() - began, error)

    async def _judged(self, case: EvalCase, conversation: Conversation) -> JudgeResult:
        lacks = "; ".join(conversation.lacks)
        if not case.expected_behavior.strip() and not case.rubric.strip():
            if lacks:
                return JudgeResult(0.0, passed=False, reasoning=lacks)
            return JudgeResult(1.0, passed=True, reasoning="everything expected was said")
        found = await self._judge.judge_case(case, conversation.transcript)
        if lacks:
            return JudgeResult(found.score, passed=False, reasoning=f"{lacks}. {found.reasoning}")
        return found

    def report(self, suite: EvalSuite, results: Sequence[EvalResult]) -> str:
        """Results as JSON: suite, counts, pass rate, and each case in the order of `results`."""
        passed = sum(each.passed for each in results)
        tags = {case.name: list(case.tags) for case in suite.cases}
        told = {
            "suite": suite.name,
            "metadata": dict(suite.metadata),
            "total": len(results),
            "passed": passed,
            "failed": sum(not each.passed and each.error is None for each in results),
            "errors": sum(each.error is not None for each in results),
            "pass_rate": round(passed / len(results), 4) if results else 0.0,
            "cases": [
                {
                    "case_name": each.case_name,
                    "tags": tags.get(each.case_name, []),
                    "passed": each.passed,
                    "score": each.judge.score if each.judge is not None else None,
                    "reasoning": each.judge.reasoning if each.judge is not None else "",
                    "duration_s": round(each.duration_s, _DIGITS),
                    "error": each.error,
                    "transcript": [dict(line) for line in each.transcript],
                }
                for each in results
            ],
        }
        return json.dumps(told, indent=2, ensure_ascii=False, default=str)
