"""An AI agent with a phone number.

Every public name is importable from here and is loaded when it is first asked for (PEP 562), so that
`import getpatter` costs next to nothing and loads no server, no numeric library and no vendor.

To add a name, add a line to `_EXPORTS` and the import under `TYPE_CHECKING`, which is what type checkers
(and tools that freeze programs) read; `tests/unit/test_exports.py` holds the two together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from getpatter._version import __version__

if TYPE_CHECKING:
    from getpatter.agent import Agent as Agent
    from getpatter.agent_parts import AgcConfig as AgcConfig
    from getpatter.agent_parts import AudioFilter as AudioFilter
    from getpatter.agent_parts import CompactionConfig as CompactionConfig
    from getpatter.agent_parts import ConsultConfig as ConsultConfig
    from getpatter.agent_parts import MCPServerConfig as MCPServerConfig
    from getpatter.agent_parts import PipelineHooks as PipelineHooks
    from getpatter.agent_parts import RealtimeTurnDetection as RealtimeTurnDetection
    from getpatter.agent_parts import SessionContext as SessionContext
    from getpatter.agent_parts import Skill as Skill
    from getpatter.audio import PcmCarry as PcmCarry
    from getpatter.audio import StatefulResampler as StatefulResampler
    from getpatter.audio import mix_pcm as mix_pcm
    from getpatter.audio import mulaw_to_pcm16 as mulaw_to_pcm16
    from getpatter.audio import pcm16_to_mulaw as pcm16_to_mulaw
    from getpatter.audio import resample_8k_to_16k as resample_8k_to_16k
    from getpatter.audio import resample_16k_to_8k as resample_16k_to_8k
    from getpatter.audio import resample_24k_to_16k as resample_24k_to_16k
    from getpatter.background_audio import BackgroundAudioPlayer as BackgroundAudioPlayer
    from getpatter.background_audio import BuiltinAudioClip as BuiltinAudioClip
    from getpatter.carriers import plivo as _carriers_plivo
    from getpatter.carriers import telnyx as _carriers_telnyx
    from getpatter.carriers import twilio as _carriers_twilio
    from getpatter.carriers.plivo import PlivoAdapter as PlivoAdapter
    from getpatter.carriers.telnyx import TelnyxAdapter as TelnyxAdapter
    from getpatter.carriers.twilio import TwilioAdapter as TwilioAdapter
    from getpatter.core.phone_menus import DtmfEvent as DtmfEvent
    from getpatter.core.phone_menus import TfidfLoopDetector as TfidfLoopDetector
    from getpatter.core.phone_menus import format_dtmf as format_dtmf
    from getpatter.core.sentences import SentenceChunker as SentenceChunker
    from getpatter.core.spoken import filter_emoji as filter_emoji
    from getpatter.core.spoken import filter_for_tts as filter_for_tts
    from getpatter.core.spoken import filter_markdown as filter_markdown
    from getpatter.dashboard.export import calls_to_csv as calls_to_csv
    from getpatter.dashboard.export import calls_to_json as calls_to_json
    from getpatter.dashboard.store import MetricsStore as MetricsStore
    from getpatter.dashboard.store import MetricsStoreProtocol as MetricsStoreProtocol
    from getpatter.engines.elevenlabs import ElevenLabsConvAI as ElevenLabsConvAI
    from getpatter.engines.google import GeminiLive as GeminiLive
    from getpatter.engines.openai import OpenAIRealtime as OpenAIRealtime
    from getpatter.engines.openai_realtime_2 import OpenAIRealtime2 as OpenAIRealtime2
    from getpatter.engines.ultravox import UltravoxRealtime as UltravoxRealtime
    from getpatter.errors import AllProvidersFailedError as AllProvidersFailedError
    from getpatter.errors import AuthenticationError as AuthenticationError
    from getpatter.errors import CallEndedError as CallEndedError
    from getpatter.errors import ErrorCode as ErrorCode
    from getpatter.errors import PartialStreamError as PartialStreamError
    from getpatter.errors import PatterConfigError as PatterConfigError
    from getpatter.errors import PatterConnectionError as PatterConnectionError
    from getpatter.errors import PatterDeprecationWarning as PatterDeprecationWarning
    from getpatter.errors import PatterError as PatterError
    from getpatter.errors import ProvisionError as ProvisionError
    from getpatter.errors import RateLimitError as RateLimitError
    from getpatter.errors import ToolSchemaError as ToolSchemaError
    from getpatter.errors import WireError as WireError
    from getpatter.events import PatterEventType as PatterEventType
    from getpatter.integrations import PatterTool as PatterTool
    from getpatter.integrations import PatterToolResult as PatterToolResult
    from getpatter.llm import anthropic as _llm_anthropic
    from getpatter.llm import cerebras as _llm_cerebras
    from getpatter.llm import custom as _llm_custom
    from getpatter.llm import google as _llm_google
    from getpatter.llm import groq as _llm_groq
    from getpatter.llm import hermes as _llm_hermes
    from getpatter.llm import inworld as _llm_inworld
    from getpatter.llm import litellm as _llm_litellm
    from getpatter.llm import openai as _llm_openai
    from getpatter.llm import openai_compatible as _llm_openai_compatible
    from getpatter.llm import openclaw as _llm_openclaw
    from getpatter.llm._sessions import hash_caller as hash_caller
    from getpatter.llm.base import LLMChunk as LLMChunk
    from getpatter.llm.base import LLMProvider as LLMProvider
    from getpatter.llm.fallback import FallbackLLMProvider as FallbackLLMProvider
    from getpatter.local_config import LocalConfig as LocalConfig
    from getpatter.models import CallEvent as CallEvent
    from getpatter.models import CallMetrics as CallMetrics
    from getpatter.models import CallResult as CallResult
    from getpatter.models import ChatContext as ChatContext
    from getpatter.models import ChatMessage as ChatMessage
    from getpatter.models import CostBreakdown as CostBreakdown
    from getpatter.models import HookContext as HookContext
    from getpatter.models import IncomingMessage as IncomingMessage
    from getpatter.models import LatencyBreakdown as LatencyBreakdown
    from getpatter.models import MachineDetectionResult as MachineDetectionResult
    from getpatter.models import STTConfig as STTConfig
    from getpatter.models import Transcript as Transcript
    from getpatter.models import TTSConfig as TTSConfig
    from getpatter.models import TurnMetrics as TurnMetrics
    from getpatter.observability.call_log import CallLogger as CallLogger
    from getpatter.observability.event_bus import EventBus as EventBus
    from getpatter.observability.tracing import SPAN_BARGEIN as SPAN_BARGEIN
    from getpatter.observability.tracing import SPAN_CALL as SPAN_CALL
    from getpatter.observability.tracing import SPAN_ENDPOINT as SPAN_ENDPOINT
    from getpatter.observability.tracing import SPAN_LLM as SPAN_LLM
    from getpatter.observability.tracing import SPAN_STT as SPAN_STT
    from getpatter.observability.tracing import SPAN_TOOL as SPAN_TOOL
    from getpatter.observability.tracing import SPAN_TTS as SPAN_TTS
    from getpatter.observability.tracing import init_tracing as init_tracing
    from getpatter.observability.tracing import is_tracing_enabled as is_tracing_enabled
    from getpatter.observability.tracing import shutdown_tracing as shutdown_tracing
    from getpatter.observability.tracing import start_span as start_span
    from getpatter.patter import Patter as Patter
    from getpatter.pricing import DEFAULT_PRICING as DEFAULT_PRICING
    from getpatter.pricing import PRICING_LAST_UPDATED as PRICING_LAST_UPDATED
    from getpatter.pricing import calculate_llm_cost as calculate_llm_cost
    from getpatter.pricing import calculate_realtime_cost as calculate_realtime_cost
    from getpatter.pricing import calculate_stt_cost as calculate_stt_cost
    from getpatter.pricing import calculate_telephony_cost as calculate_telephony_cost
    from getpatter.pricing import calculate_tts_cost as calculate_tts_cost
    from getpatter.pricing import merge_pricing as merge_pricing
    from getpatter.providers._fallback import Fallback as Fallback
    from getpatter.runtime.control import CallControl as CallControl
    from getpatter.runtime.hooks import PipelineHookExecutor as PipelineHookExecutor
    from getpatter.runtime.ivr import IVRActivity as IVRActivity
    from getpatter.scheduler import ScheduleHandle as ScheduleHandle
    from getpatter.scheduler import schedule_cron as schedule_cron
    from getpatter.scheduler import schedule_interval as schedule_interval
    from getpatter.scheduler import schedule_once as schedule_once
    from getpatter.server import EmbeddedServer as EmbeddedServer
    from getpatter.server.mounted import mount_api as mount_api
    from getpatter.server.mounted import mount_dashboard as mount_dashboard
    from getpatter.stt.assemblyai import AssemblyAISTT as AssemblyAISTT
    from getpatter.stt.base import STTProvider as STTProvider
    from getpatter.stt.cartesia import CartesiaSTT as CartesiaSTT
    from getpatter.stt.deepgram import DeepgramSTT as DeepgramSTT
    from getpatter.stt.deepgram_flux import DeepgramFluxSTT as DeepgramFluxSTT
    from getpatter.stt.elevenlabs import ElevenLabsSTT as ElevenLabsSTT
    from getpatter.stt.fallback import FallbackSTTProvider as FallbackSTTProvider
    from getpatter.stt.local import LocalSTT as LocalSTT
    from getpatter.stt.openai_transcribe import OpenAITranscribeSTT as OpenAITranscribeSTT
    from getpatter.stt.soniox import SonioxSTT as SonioxSTT
    from getpatter.stt.speechmatics import SpeechmaticsSTT as SpeechmaticsSTT
    from getpatter.stt.speechmatics import TurnDetectionMode as TurnDetectionMode
    from getpatter.stt.telnyx import TelnyxSTT as TelnyxSTT
    from getpatter.stt.whisper import WhisperSTT as WhisperSTT
    from getpatter.test_mode import TestSession as TestSession
    from getpatter.tools import Guardrail as Guardrail
    from getpatter.tools import Tool as Tool
    from getpatter.tools import define_tool as define_tool
    from getpatter.tools import guardrail as guardrail
    from getpatter.tools import tool as tool
    from getpatter.tts.base import TTSProvider as TTSProvider
    from getpatter.tts.cartesia import CartesiaTTS as CartesiaTTS
    from getpatter.tts.deepgram import DeepgramTTS as DeepgramTTS
    from getpatter.tts.elevenlabs import ElevenLabsRestTTS as ElevenLabsRestTTS
    from getpatter.tts.elevenlabs import ElevenLabsTTS as ElevenLabsTTS
    from getpatter.tts.elevenlabs import ElevenLabsTTSError as ElevenLabsTTSError
    from getpatter.tts.elevenlabs_ws import ElevenLabsWebSocketTTS as ElevenLabsWebSocketTTS
    from getpatter.tts.fallback import FallbackTTSProvider as FallbackTTSProvider
    from getpatter.tts.inworld import InworldTTS as InworldTTS
    from getpatter.tts.lmnt import LMNTTTS as LMNTTTS
    from getpatter.tts.local import LocalTTS as LocalTTS
    from getpatter.tts.openai import OpenAITTS as OpenAITTS
    from getpatter.tts.rime import RimeTTS as RimeTTS
    from getpatter.tts.telnyx import TelnyxTTS as TelnyxTTS
    from getpatter.tunnels import CloudflareTunnel as CloudflareTunnel
    from getpatter.tunnels import Ngrok as Ngrok
    from getpatter.tunnels import StaticTunnel as StaticTunnel
    from getpatter.turn_taking import BargeInStrategy as BargeInStrategy
    from getpatter.turn_taking import MinWordsStrategy as MinWordsStrategy
    from getpatter.turn_taking import TurnDetector as TurnDetector
    from getpatter.turn_taking import TurnDetectorProvider as TurnDetectorProvider
    from getpatter.vad.base import VADEvent as VADEvent
    from getpatter.vad.base import VADProvider as VADProvider
    from getpatter.vad.silero import SileroVAD as SileroVAD
    from getpatter.vad.smart_turn import SmartTurnDetector as SmartTurnDetector

    AnthropicLLM = _llm_anthropic.LLM
    CerebrasLLM = _llm_cerebras.LLM
    CustomLLM = _llm_custom.LLM
    GoogleLLM = _llm_google.LLM
    GroqLLM = _llm_groq.LLM
    HermesLLM = _llm_hermes.LLM
    InworldLLM = _llm_inworld.LLM
    LiteLLMLLM = _llm_litellm.LLM
    OpenAICompatibleLLM = _llm_openai_compatible.LLM
    OpenAILLM = _llm_openai.LLM
    OpenClawLLM = _llm_openclaw.LLM
    Plivo = _carriers_plivo.Carrier
    Telnyx = _carriers_telnyx.Carrier
    Twilio = _carriers_twilio.Carrier

# Public name -> "module:attribute" under `getpatter`, or "module" where the names are the same.
_EXPORTS: Final[dict[str, str]] = {
    "AgcConfig": "agent_parts",
    "Agent": "agent",
    "AllProvidersFailedError": "errors",
    "AnthropicLLM": "llm.anthropic:LLM",
    "AssemblyAISTT": "stt.assemblyai",
    "AudioFilter": "agent_parts",
    "AuthenticationError": "errors",
    "BackgroundAudioPlayer": "background_audio",
    "BargeInStrategy": "turn_taking",
    "BuiltinAudioClip": "background_audio",
    "CallControl": "runtime.control",
    "CallEndedError": "errors",
    "CallEvent": "models",
    "CallLogger": "observability.call_log",
    "CallMetrics": "models",
    "CallResult": "models",
    "CartesiaSTT": "stt.cartesia",
    "CartesiaTTS": "tts.cartesia",
    "CerebrasLLM": "llm.cerebras:LLM",
    "ChatContext": "models",
    "ChatMessage": "models",
    "CloudflareTunnel": "tunnels",
    "CompactionConfig": "agent_parts",
    "ConsultConfig": "agent_parts",
    "CostBreakdown": "models",
    "CustomLLM": "llm.custom:LLM",
    "DEFAULT_PRICING": "pricing",
    "DeepgramFluxSTT": "stt.deepgram_flux",
    "DeepgramSTT": "stt.deepgram",
    "DeepgramTTS": "tts.deepgram",
    "DtmfEvent": "core.phone_menus",
    "ElevenLabsConvAI": "engines.elevenlabs",
    "ElevenLabsRestTTS": "tts.elevenlabs",
    "ElevenLabsSTT": "stt.elevenlabs",
    "ElevenLabsTTS": "tts.elevenlabs",
    "ElevenLabsTTSError": "tts.elevenlabs",
    "ElevenLabsWebSocketTTS": "tts.elevenlabs_ws",
    "EmbeddedServer": "server",
    "ErrorCode": "errors",
    "EventBus": "observability.event_bus",
    "Fallback": "providers._fallback",
    "FallbackLLMProvider": "llm.fallback",
    "FallbackSTTProvider": "stt.fallback",
    "FallbackTTSProvider": "tts.fallback",
    "GeminiLive": "engines.google",
    "GoogleLLM": "llm.google:LLM",
    "GroqLLM": "llm.groq:LLM",
    "Guardrail": "tools",
    "HermesLLM": "llm.hermes:LLM",
    "HookContext": "models",
    "IVRActivity": "runtime.ivr",
    "IncomingMessage": "models",
    "InworldLLM": "llm.inworld:LLM",
    "InworldTTS": "tts.inworld",
    "LLMChunk": "llm.base",
    "LLMProvider": "llm.base",
    "LMNTTTS": "tts.lmnt",
    "LatencyBreakdown": "models",
    "LiteLLMLLM": "llm.litellm:LLM",
    "LocalConfig": "local_config",
    "LocalSTT": "stt.local",
    "LocalTTS": "tts.local",
    "MCPServerConfig": "agent_parts",
    "MachineDetectionResult": "models",
    "MetricsStore": "dashboard.store",
    "MetricsStoreProtocol": "dashboard.store",
    "MinWordsStrategy": "turn_taking",
    "Ngrok": "tunnels",
    "OpenAICompatibleLLM": "llm.openai_compatible:LLM",
    "OpenAILLM": "llm.openai:LLM",
    "OpenAIRealtime": "engines.openai",
    "OpenAIRealtime2": "engines.openai_realtime_2",
    "OpenAITTS": "tts.openai",
    "OpenAITranscribeSTT": "stt.openai_transcribe",
    "OpenClawLLM": "llm.openclaw:LLM",
    "PRICING_LAST_UPDATED": "pricing",
    "PartialStreamError": "errors",
    "Patter": "patter",
    "PatterConfigError": "errors",
    "PatterConnectionError": "errors",
    "PatterDeprecationWarning": "errors",
    "PatterError": "errors",
    "PatterEventType": "events",
    "PatterTool": "integrations",
    "PatterToolResult": "integrations",
    "PcmCarry": "audio",
    "PipelineHookExecutor": "runtime.hooks",
    "PipelineHooks": "agent_parts",
    "Plivo": "carriers.plivo:Carrier",
    "PlivoAdapter": "carriers.plivo",
    "ProvisionError": "errors",
    "RateLimitError": "errors",
    "RealtimeTurnDetection": "agent_parts",
    "RimeTTS": "tts.rime",
    "SPAN_BARGEIN": "observability.tracing",
    "SPAN_CALL": "observability.tracing",
    "SPAN_ENDPOINT": "observability.tracing",
    "SPAN_LLM": "observability.tracing",
    "SPAN_STT": "observability.tracing",
    "SPAN_TOOL": "observability.tracing",
    "SPAN_TTS": "observability.tracing",
    "STTConfig": "models",
    "STTProvider": "stt.base",
    "ScheduleHandle": "scheduler",
    "SentenceChunker": "core.sentences",
    "SessionContext": "agent_parts",
    "SileroVAD": "vad.silero",
    "Skill": "agent_parts",
    "SmartTurnDetector": "vad.smart_turn",
    "SonioxSTT": "stt.soniox",
    "SpeechmaticsSTT": "stt.speechmatics",
    "StatefulResampler": "audio",
    "StaticTunnel": "tunnels",
    "TTSConfig": "models",
    "TTSProvider": "tts.base",
    "Telnyx": "carriers.telnyx:Carrier",
    "TelnyxAdapter": "carriers.telnyx",
    "TelnyxSTT": "stt.telnyx",
    "TelnyxTTS": "tts.telnyx",
    "TestSession": "test_mode",
    "TfidfLoopDetector": "core.phone_menus",
    "Tool": "tools",
    "ToolSchemaError": "errors",
    "Transcript": "models",
    "TurnDetectionMode": "stt.speechmatics",
    "TurnDetector": "turn_taking",
    "TurnDetectorProvider": "turn_taking",
    "TurnMetrics": "models",
    "Twilio": "carriers.twilio:Carrier",
    "TwilioAdapter": "carriers.twilio",
    "UltravoxRealtime": "engines.ultravox",
    "VADEvent": "vad.base",
    "VADProvider": "vad.base",
    "WhisperSTT": "stt.whisper",
    "WireError": "errors",
    "calculate_llm_cost": "pricing",
    "calculate_realtime_cost": "pricing",
    "calculate_stt_cost": "pricing",
    "calculate_telephony_cost": "pricing",
    "calculate_tts_cost": "pricing",
    "calls_to_csv": "dashboard.export",
    "calls_to_json": "dashboard.export",
    "define_tool": "tools",
    "filter_emoji": "core.spoken",
    "filter_for_tts": "core.spoken",
    "filter_markdown": "core.spoken",
    "format_dtmf": "core.phone_menus",
    "guardrail": "tools",
    "hash_caller": "llm._sessions",
    "init_tracing": "observability.tracing",
    "is_tracing_enabled": "observability.tracing",
    "merge_pricing": "pricing",
    "mix_pcm": "audio",
    "mount_api": "server.mounted",
    "mount_dashboard": "server.mounted",
    "mulaw_to_pcm16": "audio",
    "pcm16_to_mulaw": "audio",
    "resample_16k_to_8k": "audio",
    "resample_24k_to_16k": "audio",
    "resample_8k_to_16k": "audio",
    "schedule_cron": "scheduler",
    "schedule_interval": "scheduler",
    "schedule_once": "scheduler",
    "shutdown_tracing": "observability.tracing",
    "start_span": "observability.tracing",
    "tool": "tools",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll] - strings, all of them


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, and keep it."""
    place = _EXPORTS.get(name)
    if place is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name)
    module, _, attribute = place.partition(":")
    value: object = getattr(import_module(f"{__name__}.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return sorted({*globals(), *_EXPORTS})
