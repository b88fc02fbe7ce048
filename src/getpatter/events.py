"""What a program may listen to: the names of the events of `phone.events`, and the speech callbacks of a phone."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

Callback = Callable[..., object]


class PatterEventType(StrEnum):
    """What the bus carries. The texts name what is in the payload besides `call_id` and `timestamp`."""

    TRANSCRIPT_PARTIAL = "transcript_partial"
    """`text`"""
    TRANSCRIPT_FINAL = "transcript_final"
    """The payload of `on_transcript`."""
    LLM_CHUNK = "llm_chunk"
    """`text`"""
    TTS_CHUNK = "tts_chunk"
    """`bytes` (their number), `duration_ms`"""
    TOOL_CALL_STARTED = "tool_call_started"
    """`name`, `arguments`, `tool_call_id`, `transport`"""
    TOOL_CALL_COMPLETED = "tool_call_completed"
    """`name`, `result`, `error`, `duration_ms`, `tool_call_id`, `transport`"""
    TURN_STARTED = "turn_started"
    """`turn_index`, `turn`"""
    TURN_ENDED = "turn_ended"
    """`turn_index`, `turn`"""
    METRICS_COLLECTED = "metrics_collected"
    """`turn_index`, `turn`"""
    EOU_METRICS = "eou_metrics"
    """Stage, provider, model, times and units; so have the next three."""
    STT_METRICS = "stt_metrics"
    LLM_METRICS = "llm_metrics"
    TTS_METRICS = "tts_metrics"
    INTERRUPTION = "interruption"
    """`heard_text`, `bargein_ms`, `unsaid_letters`"""
    CALL_STARTED = "call_started"
    """The payload of `on_call_start`."""
    CALL_ENDED = "call_ended"
    """The payload of `on_call_end`."""
    CALL_STATUS = "call_status"
    """`status`"""
    HANDOFF = "handoff"
    """`name` of the agent that goes on with the call."""
    TRANSFER_ENDED = "transfer_ended"
    """`mode`, and `status`: `connected`, or why nobody took the caller, who is then back."""
    RECORDING_READY = "recording_ready"
    """`recording_id`, `url`, `duration_seconds`, `channels`, `format`, once the carrier has the recording."""
    CALL_COST_UPDATED = "call_cost_updated"
    """`cost` of the whole call, `telephony` (the carrier's price in it) and `estimate` (what was assumed), once the
    carrier has billed it."""
    GUARDRAIL_TRIGGERED = "guardrail_triggered"
    """`name` of the guardrail, never the text."""
    CALLBACK_ERROR = "callback_error"
    """`callback` and the type of its exception."""
    ERROR = "error"
    """`stage` and `provider` where it happened, `code`, and the class of the `error`."""


class _HasSpeech(Protocol):
    speech: dict[str, Callback]


class SpeechCallback:
    """An attribute of a phone: a function, sync or async, that is told when somebody speaks; `None`: nobody is.

    It may be set at any time, also during calls, and is told of every call in that call's order: `call_id` says
    which. Its payload: `call_id`, `timestamp_ms` (Unix), `turn_idx`, and what `SPEECH_CALLBACKS` says.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, phone: _HasSpeech | None, owner: type | None = None) -> Callback | None:
        return None if phone is None else phone.speech.get(self._name)

    def __set__(self, phone: _HasSpeech, function: Callback | None) -> None:
        if function is None:
            phone.speech.pop(self._name, None)
        elif callable(function):
            phone.speech[self._name] = function
        else:
            raise TypeError(f"{self._name} must be a function, not {type(function).__name__}")


SPEECH_CALLBACKS: Final = {
    "on_user_speech_started": ("vad_confidence",),
    "on_user_speech_ended": ("speech_duration_ms",),
    "on_user_speech_eos": ("trigger", "trailing_silence_ms", "transcript_so_far"),
    "on_agent_speech_started": ("tts_provider", "engine"),
    "on_agent_speech_ended": ("speech_duration_ms", "interrupted"),
    "on_llm_token": ("llm_provider", "model"),
    "on_audio_out": ("tts_provider", "engine"),
}
"""Name -> keys of its payload besides `call_id`, `timestamp_ms` and `turn_idx`."""
