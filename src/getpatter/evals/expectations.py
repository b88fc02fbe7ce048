"""`expect(result)`: what a turn must have been, read from left to right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

from getpatter.evals.cases import EvalCase, EvalTurn

if TYPE_CHECKING:
    from getpatter.evals.judge import LLMJudge
    from getpatter.evals.session import ToolCall, TurnResult

_NOTHING: Final[Mapping[str, object]] = {}


class Expectation:
    """Checks of one turn; each raises `AssertionError` with what was there instead, or returns itself."""

    def __init__(self, result: TurnResult) -> None:
        """`result`: what `say` returned."""
        self._result = result

    def tool_called(self, name: str, args_subset: Mapping[str, object] | None = None) -> Self:
        """The agent called the tool `name`, in one call with at least these arguments."""
        wanted = args_subset or _NOTHING
        calls = [call for call in self._result.tool_calls if call.name == name]
        if any(_is_within(wanted, call) for call in calls):
            return self
        what = f"{name}({_written(wanted)})" if wanted else name
        raise AssertionError(f"expected a call of {what}; {self._calls()}")

    def no_tool_called(self, name: str | None = None) -> Self:
        """The agent called no tool, or not this one."""
        if any(name in {None, call.name} for call in self._result.tool_calls):
            raise AssertionError(f"expected no call of {name or 'any tool'}; {self._calls()}")
        return self

    def agent_text_contains(self, *needles: str, case_sensitive: bool = False) -> Self:
        """The agent's words hold each of these texts."""
        said = self._result.agent_text
        for needle in needles:
            if missing(needle, said, case_sensitive=case_sensitive):
                raise AssertionError(f"expected {needle!r} in what the agent said: {said!r}")
        return self

    async def judge(self, judge: LLMJudge, intent: str, rubric: str | None = None) -> Self:
        """A judge finds that the agent does what is intended; it reads the whole conversation up to here.

        Raises:
            AssertionError: it does not.
            PatterError: there is no verdict.
        """
        case = EvalCase("expect", (EvalTurn(self._result.user_text),), intent, rubric or "")
        found = await judge.judge_case(case, self._result.history_snapshot)
        if not found.passed:
            raise AssertionError(
                f"expected {intent!r}; the judge gives {found.score:.2f}: {found.reasoning}"
            )
        return self

    def _calls(self) -> str:
        calls = [f"{call.name}({_written(call.arguments)})" for call in self._result.tool_calls]
        return f"there were {', '.join(calls)}" if calls else "there was no tool call"


def expect(result: TurnResult) -> Expectation:
    """Begin to check a turn: `expect(turn).tool_called("book").agent_text_contains("Monday")`."""
    return Expectation(result)


def missing(needle: str, said: str, *, case_sensitive: bool = False) -> bool:
    """Whether `said` does not hold `needle`."""
    return needle not in said if case_sensitive else needle.casefold() not in said.casefold()


def _is_within(wanted: Mapping[str, object], call: ToolCall) -> bool:
    return all(key in call.arguments and call.arguments[key] == wanted[key] for key in wanted)


def _written(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())
