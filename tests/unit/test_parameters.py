"""Every parameter of an agent has an effect, or one warning names it and the mode that cannot honour it.

A new parameter needs a row in `TABLE`: the modes that honour it, and the file under `tests` that shows its effect.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.agent_parts import CompactionConfig, PipelineHooks, RealtimeTurnDetection
from getpatter.background_audio import BackgroundAudioPlayer, BuiltinAudioClip
from getpatter.engines.elevenlabs import ConvAI
from getpatter.engines.openai import Realtime
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.turn_taking import MinWordsStrategy

TESTS: Final = Path(__file__).parents[1]
Kind = Literal["pipeline", "realtime", "convai"]
KINDS: Final[tuple[Kind, ...]] = ("pipeline", "realtime", "convai")


class Detector:
    """Any voice or turn detector."""

    threshold = 0.5

    async def predict(self, window: bytes) -> float:
        return 1.0

    async def process_frame(self, pcm: bytes, sample_rate: int) -> None: ...


class Filter:
    """Any filter of the caller's sound."""

    async def process(self, pcm: bytes, sample_rate: int) -> bytes:
        return pcm


PIPELINE_ONLY: Final[dict[str, tuple[object, str]]] = {
    "hooks": (PipelineHooks(before_llm=lambda messages, ctx: None), "sim/test_hooks.py"),
    "text_transforms": ([str.upper], "unit/test_agent.py"),
    "vad": (Detector(), "unit/test_agent.py"),
    "aggressive_first_flush": (True, "sim/test_silence.py"),
    "turn_detector": (Detector(), "sim/test_turn_taking.py"),
    "max_semantic_hold_ms": (500, "sim/test_turn_taking.py"),
    "barge_in_mode": ("pause_resume", "sim/test_turn_taking.py"),
    "barge_in_confirm_ms": (900, "unit/test_confirmation.py"),
    "barge_in_strategies": ([MinWordsStrategy(2)], "sim/test_turn_taking.py"),
    "preemptive_generation": (True, "sim/test_memory.py"),
    "preemptive_min_stable_ms": (200, "unit/test_drafting.py"),
    "compaction": (CompactionConfig(), "sim/test_memory.py"),
    "context_token_budget": (100, "sim/test_memory.py"),
    "max_history": (10, "sim/test_memory.py"),
    "tool_call_preambles": (True, "sim/test_memory.py"),
    "disable_phone_preamble": (True, "sim/test_memory.py"),
}
"""Parameter -> a value that is not its default, and where its effect is shown."""
ENGINE_ONLY: Final[dict[str, object]] = {
    "openai_realtime_noise_reduction": "near_field",
    "realtime_turn_detection": RealtimeTurnDetection(threshold=0.7),
    "realtime_gate_response_on_transcript": True,
}
EVERYWHERE: Final[dict[str, object]] = {
    "first_message": "Hello.",
    "variables": {"name": "Ada"},
    "barge_in_threshold_ms": 500,
    "llm_error_message": "Sorry.",
    "long_turn_message": "Still here.",
    "long_turn_message_after_s": 2.0,
    "language": "it",
    "prewarm": False,
    "transfer_allow": ["+1555*"],
    "audio_filter": Filter(),
    "background_audio": BackgroundAudioPlayer(BuiltinAudioClip.HOLD_MUSIC),
    "agc": True,
    "high_pass_hz": 100,
    "echo_cancellation": True,
}
OF_THE_MODE: Final = frozenset(
    {
        "system_prompt",
        "engine",
        "stt",
        "tts",
        "llm",
        "provider",
        "voice",
        "model",
        "tools",
        "guardrails",
    }
)
"""What an agent is made of; `test_agent.py` has their rules."""
ELSEWHERE: Final = frozenset(
    {
        "prewarm_first_message", "handoffs", "skills", "consult", "mcp_servers",
    }
)  # fmt: skip
"""Features with tests of their own: a row above as soon as their modes are settled."""


def made(kind: Kind, **options: Any) -> Agent:
    parts: dict[str, Any] = {
        "pipeline": {"stt": ScriptedSTT([]), "tts": ScriptedTTS(), "llm": ScriptedLLM(["x"])},
        "realtime": {"engine": Realtime("key")},
        "convai": {"engine": ConvAI("key", agent_id="agent")},
    }
    return build_agent("Be brief.", None, **parts[kind], **options)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_every_parameter_has_a_row() -> None:
    names = {each.name for each in dataclasses.fields(Agent)}
    rows = [*PIPELINE_ONLY, *ENGINE_ONLY, *EVERYWHERE, *OF_THE_MODE, *ELSEWHERE]
    assert sorted(rows) == sorted(names), "one row for each"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*PIPELINE_ONLY, *ENGINE_ONLY, *EVERYWHERE])
def test_what_a_mode_cannot_honour_is_named_once(
    kind: Kind, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = PIPELINE_ONLY[name][0] if name in PIPELINE_ONLY else (ENGINE_ONLY | EVERYWHERE)[name]
    with caplog.at_level(logging.WARNING):
        made(kind, **{name: value})
    mode = "pipeline" if kind == "pipeline" else "engine"
    is_ignored = name in (ENGINE_ONLY if mode == "pipeline" else PIPELINE_ONLY)
    wanted = [f"agent.parameters_ignored mode={mode} parameters={name}"] if is_ignored else []
    assert warned(caplog) == wanted


@pytest.mark.parametrize("name", PIPELINE_ONLY)
def test_the_effect_is_shown_where_the_table_says(name: str) -> None:
    text = (TESTS / PIPELINE_ONLY[name][1]).read_text(encoding="utf-8")
    manners = {
        "barge_in_confirm_ms": "barge_in_confirm_within",
        "preemptive_min_stable_ms": "draft_after",
    }
    assert manners.get(name, name) in text
