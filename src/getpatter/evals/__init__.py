"""Try an agent before it has a phone: conversations in text, checks of them, and a model that judges.

```python
suite = load_suite("desk.yaml")
runner = EvalRunner(judge=LLMJudge(pass_threshold=0.8))
results = await runner.run(suite, agent_factory=make_agent)
print(runner.report(suite, results))
```
"""

from __future__ import annotations

from getpatter.evals.cases import EvalCase, EvalSuite, EvalTurn, load_suite
from getpatter.evals.expectations import Expectation, expect
from getpatter.evals.judge import JudgeResult, LLMJudge, UnreadableVerdictError
from getpatter.evals.runner import EvalResult, EvalRunner
from getpatter.evals.scripted import (
    FakeAudioSender,
    FakeSTT,
    FakeTTS,
    ScriptedLLMProvider,
    ScriptedTurn,
    ScriptedTurnsError,
    text_turn,
    tool_call_turn,
)
from getpatter.evals.session import EvalSession, ToolCall, TurnResult

__all__ = [
    "EvalCase",
    "EvalResult",
    "EvalRunner",
    "EvalSession",
    "EvalSuite",
    "EvalTurn",
    "Expectation",
    "FakeAudioSender",
    "FakeSTT",
    "FakeTTS",
    "JudgeResult",
    "LLMJudge",
    "ScriptedLLMProvider",
    "ScriptedTurn",
    "ScriptedTurnsError",
    "ToolCall",
    "TurnResult",
    "UnreadableVerdictError",
    "expect",
    "load_suite",
    "text_turn",
    "tool_call_turn",
]
