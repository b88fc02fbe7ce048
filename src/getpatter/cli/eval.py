"""`getpatter eval run`: a suite, an agent, a report."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from getpatter import config
from getpatter.cli import agents, environment
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError
from getpatter.evals import EvalResult, EvalRunner, EvalSuite, LLMJudge, load_suite
from getpatter.evals.judge import DEFAULT_MODEL


def run(options: argparse.Namespace) -> int:
    """Run the suite. 0: every case passed; 1: one did not."""
    environment.read()
    suite = _suite(options.suite)
    judge = LLMJudge(options.judge_model or DEFAULT_MODEL, pass_threshold=options.pass_threshold)
    _check_output(options.output)
    agent = agents.found(options.agent) if options.agent else None
    if agent is None and any(case.agent is None for case in suite.cases):
        raise PatterConfigError("who shall be tried? Pass --agent MODULE:ATTR")
    needs_judge = any(case.expected_behavior.strip() or case.rubric.strip() for case in suite.cases)
    if needs_judge and not config.setting("OPENAI_API_KEY"):
        raise PatterConfigError("the judge needs a key: set OPENAI_API_KEY")
    runner = EvalRunner(judge)
    screen = Screen(no_color=options.no_color)
    results = asyncio.run(_results(runner, suite, agent, screen))
    report = runner.report(suite, results)
    if options.output is None:
        print(report)
    else:
        options.output.write_text(f"{report}\n", encoding="utf-8")
        _show(screen, results, options.output)
    return _verdict(results)


async def _results(
    runner: EvalRunner, suite: EvalSuite, agent: object | None, screen: Screen
) -> list[EvalResult]:
    """Run the cases, and say in a terminal where it stands."""
    results: list[EvalResult] = []
    try:
        for number, case in enumerate(suite.cases, 1):
            screen.now(f"{number} of {len(suite.cases)}: {case.name}")
            results.append(await runner.run_case(case, agent))
    finally:
        screen.now()
    return results


def _suite(path: Path) -> EvalSuite:
    try:
        return load_suite(path)
    except OSError as error:
        raise PatterConfigError(f"cannot read {path}: {error.strerror or error}") from error


def _check_output(path: Path | None) -> None:
    """Find out now, not when everything has been paid for, that the report cannot be written."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise PatterConfigError(f"the report cannot be written to {path}")


def _show(screen: Screen, results: Sequence[EvalResult], path: Path) -> None:
    for each in results:
        detail = each.error or ""
        if each.judge is not None:
            detail = f"{each.judge.score:.2f}, {each.judge.reasoning}"
        screen.check(each.case_name, is_good=each.passed, detail=detail)
    screen.line(f"{sum(each.passed for each in results)} of {len(results)} passed; report: {path}")


def _verdict(results: Sequence[EvalResult]) -> int:
    failed = [each.case_name for each in results if not each.passed]
    if failed:
        sys.stdout.flush()
        names = ", ".join(failed)
        print(f"getpatter: {len(failed)} of {len(results)} cases failed: {names}", file=sys.stderr)
    return 1 if failed else 0
