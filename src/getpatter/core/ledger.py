"""Latency of one call, computed from its turns. Definitions: the table below; a value never observed stays out.

| field | from | to |
|---|---|---|
| `stt_ms` | end of the caller's speech | final transcript |
| `endpoint_ms` | end of the caller's speech | the turn is accepted |
| `llm_ttft_ms` | the turn is accepted | first text of the reply |
| `llm_total_ms` | the turn is accepted | last text |
| `tts_ms` | first text | first audio of the voice |
| `tts_total_ms` | first text | last audio of the voice |
| `agent_response_ms` | the turn is accepted | first audio handed to the carrier |
| `total_ms` | end of the caller's speech | first audio handed to the carrier |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from getpatter.core.messages import TurnRecord
from getpatter.models import LatencyBreakdown, TurnMetrics


def _between(start: float | None, end: float | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start) * 1000


_PIPELINE: Final = (
    ("endpoint_ms", "committed_at"),
    ("llm_ms", "first_text_at"),
    ("tts_ms", "first_voice_at"),
    ("playout_ms", "first_audio_at"),
)
_ENGINE: Final = (
    ("endpoint_ms", "committed_at"),
    ("engine_ms", "first_voice_at"),
    ("playout_ms", "first_audio_at"),
)


def waterfall_of(turn: TurnRecord) -> dict[str, float]:
    """Where the time from the end of the caller's speech to the first audio went; the parts add up to it.

    What did not happen, or happened out of its order (a draft was there before the turn was accepted), has no part:
    its time is that of the next.
    """
    since, until = turn.speech_ended, turn.first_audio_at
    if since is None or until is None or until < since:
        return {}
    parts: dict[str, float] = {}
    for name, anchor in _ENGINE if turn.is_engine else _PIPELINE:
        at: float | None = getattr(turn, anchor)
        if at is not None and since <= at <= until:
            parts[name] = (at - since) * 1000
            since = at
    return parts


def latency_of(turn: TurnRecord) -> LatencyBreakdown:
    """The times of one turn, in milliseconds. Of an engine's only those that it cannot keep to itself (OB-1)."""
    if turn.is_engine:
        return LatencyBreakdown(
            total_ms=_between(turn.speech_ended, turn.first_audio_at) or 0.0,
            endpoint_ms=_between(turn.speech_ended, turn.committed_at),
            bargein_ms=turn.bargein_ms,
            user_speech_duration_ms=_between(turn.speech_began, turn.speech_ended),
            agent_response_ms=_between(turn.committed_at, turn.first_audio_at),
        )
    ttft = _between(turn.committed_at, turn.first_text_at)
    return LatencyBreakdown(
        stt_ms=_between(turn.speech_ended, turn.final_at) or 0.0,
        llm_ms=ttft or 0.0,
        tts_ms=_between(turn.first_text_at, turn.first_voice_at) or 0.0,
        total_ms=_between(turn.speech_ended, turn.first_audio_at) or 0.0,
        llm_ttft_ms=ttft,
        llm_total_ms=_between(turn.committed_at, turn.last_text_at),
        endpoint_ms=_between(turn.speech_ended, turn.committed_at),
        bargein_ms=turn.bargein_ms,
        tts_total_ms=_between(turn.first_text_at, turn.last_voice_at),
        user_speech_duration_ms=_between(turn.speech_began, turn.speech_ended),
        agent_response_ms=_between(turn.committed_at, turn.first_audio_at),
    )


def metrics_of(turn: TurnRecord, *, wall_offset: float) -> TurnMetrics:
    """What callbacks are told of one turn. `wall_offset`: Unix seconds minus the call's clock."""
    at = turn.committed_at if turn.committed_at is not None else 0.0
    return TurnMetrics(
        turn_index=turn.index,
        user_text=turn.user_text,
        agent_text=turn.agent_text,
        latency=latency_of(turn),
        stt_audio_seconds=(_between(turn.speech_began, turn.speech_ended) or 0.0) / 1000,
        tts_characters=turn.characters,
        timestamp=at + wall_offset,
        interrupted=turn.is_interrupted,
        waterfall=waterfall_of(turn),
    )


def percentile(values: Sequence[float], p: float) -> float:
    """Linear interpolation at rank `(n - 1) * p` of the sorted values; 0.0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = (len(ordered) - 1) * p
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


_PLAIN = ("stt_ms", "llm_ms", "tts_ms", "total_ms")
_OPTIONAL = (
    "llm_ttft_ms",
    "llm_total_ms",
    "endpoint_ms",
    "bargein_ms",
    "tts_total_ms",
    "user_speech_duration_ms",
    "agent_response_ms",
)


@dataclass(frozen=True, slots=True)
class Summary:
    """Latency of a whole call."""

    average: LatencyBreakdown
    p50: LatencyBreakdown
    p90: LatencyBreakdown
    p95: LatencyBreakdown
    p99: LatencyBreakdown


def summarise(turns: Iterable[TurnRecord]) -> Summary:
    """`latency_avg` and the percentiles, field by field over the turns that have the value (OB-2).

    The greeting and interrupted turns are left out, but for `bargein_ms`, which only they have.
    """
    columns: dict[str, list[float]] = {name: [] for name in (*_PLAIN, *_OPTIONAL)}
    for turn in turns:
        latency = latency_of(turn)
        if latency.bargein_ms is not None:
            columns["bargein_ms"].append(latency.bargein_ms)
        if turn.is_interrupted or turn.is_greeting:
            continue
        for name in (*_PLAIN, *_OPTIONAL):
            value: float | None = getattr(latency, name)
            if name != "bargein_ms" and value:
                columns[name].append(value)

    def reduce(statistic: Callable[[Sequence[float]], float]) -> LatencyBreakdown:
        values = {name: statistic(columns[name]) for name in _PLAIN}
        values |= {name: statistic(columns[name]) for name in _OPTIONAL if columns[name]}
        return replace(LatencyBreakdown(), **values)

    return Summary(
        average=reduce(_mean),
        p50=reduce(lambda values: percentile(values, 0.50)),
        p90=reduce(lambda values: percentile(values, 0.90)),
        p95=reduce(lambda values: percentile(values, 0.95)),
        p99=reduce(lambda values: percentile(values, 0.99)),
    )
