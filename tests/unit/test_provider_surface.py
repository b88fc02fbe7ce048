"""The documented surface of every provider class: names, parameters, defaults, variables, what is refused and how."""

from __future__ import annotations

import inspect
import pickle
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import getpatter

KEY: Final = "made-up-key-0123456789"
REQUIRED: Final = inspect.Parameter.empty
EVERY_VARIABLE: Final = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "ELEVENLABS_API_KEY", "ELEVENLABS_AGENT_ID"),
    *("DEEPGRAM_API_KEY", "CARTESIA_API_KEY", "ASSEMBLYAI_API_KEY", "SONIOX_API_KEY"),
    *("SPEECHMATICS_API_KEY", "TELNYX_API_KEY", "RIME_API_KEY", "LMNT_API_KEY", "INWORLD_API_KEY"),
    *("ANTHROPIC_API_KEY", "GROQ_API_KEY", "CEREBRAS_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
    *("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"),
    *("ULTRAVOX_API_KEY", "LITELLM_API_KEY", "API_SERVER_KEY", "OPENCLAW_API_KEY"),
)


class Row(NamedTuple):
    """A class as it is documented."""

    flat: str
    deep: str
    """`module:attribute` below `getpatter`."""
    variable: str
    """Of its key; empty where none is needed."""
    parameters: dict[str, object]
    needed: dict[str, object] = {}  # noqa: RUF012 - read only
    """What has to be given beside the key."""


_ELEVEN: Final[dict[str, object]] = {
    "voice_id": "EXAVITQu4vr4xnSDxMaL", "model_id": "eleven_flash_v2_5", "output_format": None,
    "language_code": None, "voice_settings": None, "voice": None, "auto_mode": True, "inactivity_timeout": 60,
    "chunk_length_schedule": None, "chunk_size": None,
}  # fmt: skip
_REALTIME: Final[dict[str, object]] = {
    "voice": "alloy", "reasoning_effort": None, "input_audio_transcription_model": None,
    "transcription_language": None, "noise_reduction": None, "turn_detection": None,
    "gate_response_on_transcript": None,
}  # fmt: skip

ROWS: Final = (
    # engines
    Row("OpenAIRealtime", "engines.openai:Realtime", "OPENAI_API_KEY",
        {**_REALTIME, "model": "gpt-realtime-mini"}),
    Row("OpenAIRealtime2", "engines.openai_realtime_2:Realtime2", "OPENAI_API_KEY",
        {**_REALTIME, "model": "gpt-realtime-2"}),
    Row("ElevenLabsConvAI", "engines.elevenlabs:ConvAI", "ELEVENLABS_API_KEY", {"agent_id": "", "voice": ""},
        {"agent_id": "agent-1"}),
    Row("GeminiLive", "engines.google:Live", "GEMINI_API_KEY",
        {"model": "gemini-3.8-live", "voice": "Puck", "language": "en-US", "temperature": 0.8, "base_url": ""}),
    Row("UltravoxRealtime", "engines.ultravox:Realtime", "ULTRAVOX_API_KEY",
        {"model": "ultravox-v0.7", "voice": "", "base_url": ""}),
    # recognisers
    Row("DeepgramSTT", "stt.deepgram:STT", "DEEPGRAM_API_KEY",
        {"language": "en", "model": "nova-3", "encoding": "linear16", "sample_rate": 16000, "endpointing_ms": 150,
         "utterance_end_ms": 1000, "smart_format": False, "interim_results": True, "vad_events": True, "keyterms": ()}),
    Row("WhisperSTT", "stt.whisper:STT", "OPENAI_API_KEY",
        {"language": "en", "model": "whisper-1", "response_format": "json"}),
    Row("OpenAITranscribeSTT", "stt.openai_transcribe:STT", "OPENAI_API_KEY",
        {"language": None, "model": "gpt-4o-transcribe", "response_format": "json"}),
    Row("CartesiaSTT", "stt.cartesia:STT", "CARTESIA_API_KEY",
        {"language": "en", "model": "ink-whisper", "sample_rate": 16000}),
    Row("AssemblyAISTT", "stt.assemblyai:STT", "ASSEMBLYAI_API_KEY",
        {"language": "en", "model": "universal-streaming-english", "encoding": "pcm_s16le", "sample_rate": 16000}),
    Row("SonioxSTT", "stt.soniox:STT", "SONIOX_API_KEY",
        {"model": "stt-rt-v4", "language_hints": None, "language_hints_strict": False, "sample_rate": 16000,
         "enable_speaker_diarization": False, "enable_language_identification": True, "max_endpoint_delay_ms": 500}),
    Row("SpeechmaticsSTT", "stt.speechmatics:STT", "SPEECHMATICS_API_KEY",
        {"language": "en", "turn_detection_mode": "adaptive", "sample_rate": 16000, "enable_diarization": False,
         "include_partials": True}),
    Row("TelnyxSTT", "stt.telnyx:STT", "TELNYX_API_KEY",
        {"language": "en", "transcription_engine": "telnyx", "sample_rate": 16000}),
    Row("DeepgramFluxSTT", "stt.deepgram_flux:STT", "DEEPGRAM_API_KEY",
        {"model": "flux-general-en", "eot_threshold": 0.7, "eager_eot_threshold": None, "eot_timeout_ms": 5000}),
    Row("ElevenLabsSTT", "stt.elevenlabs:STT", "ELEVENLABS_API_KEY", {"model": "scribe_v2_realtime"}),
    # voices
    Row("ElevenLabsTTS", "tts.elevenlabs:TTS", "ELEVENLABS_API_KEY", _ELEVEN),
    Row("ElevenLabsWebSocketTTS", "tts.elevenlabs_ws:TTS", "ELEVENLABS_API_KEY",
        {**_ELEVEN, "open_timeout": 5.0, "frame_timeout": 30.0}),
    Row("ElevenLabsRestTTS", "tts.elevenlabs:ElevenLabsRestTTS", "ELEVENLABS_API_KEY",
        {**_ELEVEN, "chunk_size": 4096}),
    Row("OpenAITTS", "tts.openai:TTS", "OPENAI_API_KEY",
        {"voice": "alloy", "model": "gpt-4o-mini-tts", "instructions": None, "speed": None}),
    Row("CartesiaTTS", "tts.cartesia:TTS", "CARTESIA_API_KEY",
        {"model": "sonic-3", "voice": "f786b574-daa5-4673-aa0c-cbe3e8534c02", "language": "en", "sample_rate": 16000,
         "encoding": "pcm_s16le", "speed": None, "emotion": None, "volume": None}),
    Row("RimeTTS", "tts.rime:TTS", "RIME_API_KEY",
        {"model": "arcana", "speaker": None, "lang": "eng", "sample_rate": 16000, "temperature": None, "top_p": None,
         "max_tokens": None, "repetition_penalty": None, "speed_alpha": None, "reduce_latency": None,
         "pause_between_brackets": None, "phonemize_between_brackets": None}),
    Row("LMNTTTS", "tts.lmnt:TTS", "LMNT_API_KEY",
        {"model": "blizzard", "voice": "leah", "language": None, "format": "raw", "sample_rate": 16000,
         "temperature": 1.0, "top_p": 0.8}),
    Row("InworldTTS", "tts.inworld:TTS", "INWORLD_API_KEY",
        {"model": "inworld-tts-2", "voice": "Ashley", "language": None, "audio_encoding": "PCM", "sample_rate": 16000,
         "bitrate": 64000, "temperature": None, "speaking_rate": 1.0, "delivery_mode": None}),
    Row("TelnyxTTS", "tts.telnyx:TTS", "TELNYX_API_KEY", {"voice": "Telnyx.NaturalHD.astra"}),
    Row("DeepgramTTS", "tts.deepgram:TTS", "DEEPGRAM_API_KEY", {"model": "aura-2-thalia-en"}),
    # models
    Row("OpenAILLM", "llm.openai:LLM", "OPENAI_API_KEY", {"model": "gpt-4o-mini"}),
    Row("AnthropicLLM", "llm.anthropic:LLM", "ANTHROPIC_API_KEY",
        {"model": "claude-haiku-4-5-20251001", "max_tokens": 1024, "temperature": None, "base_url": None,
         "prompt_caching": True}),
    Row("GroqLLM", "llm.groq:LLM", "GROQ_API_KEY", {"model": "llama-3.3-70b-versatile"}),
    Row("CerebrasLLM", "llm.cerebras:LLM", "CEREBRAS_API_KEY",
        {"model": "gpt-oss-120b", "gzip_compression": True, "msgpack_encoding": True}),
    Row("GoogleLLM", "llm.google:LLM", "GEMINI_API_KEY",
        {"model": "gemini-2.5-flash", "vertexai": False, "project": None, "location": None, "temperature": None,
         "max_output_tokens": None}),
    Row("OpenAICompatibleLLM", "llm.openai_compatible:LLM", "",
        {"base_url": REQUIRED, "model": REQUIRED, "api_key_env": None, "timeout": 60.0, "extra_headers": None,
         "session_user_prefix": None, "session_id_header": None, "session_id_prefix": "", "session_key_header": None,
         "session_key": None, "session_key_factory": None, "session_key_from": None},
        {"base_url": "http://localhost/v1", "model": "m"}),
    Row("CustomLLM", "llm.custom:LLM", "", {"base_url": REQUIRED, "model": REQUIRED},
        {"base_url": "http://localhost/v1", "model": "m"}),
    Row("LiteLLMLLM", "llm.litellm:LLM", "LITELLM_API_KEY",
        {"model": "gpt-4o-mini", "api_base": None, "drop_params": True}),
    Row("InworldLLM", "llm.inworld:LLM", "INWORLD_API_KEY",
        {"model": REQUIRED, "base_url": "https://api.inworld.ai/v1"}, {"model": "inworld/router"}),
    Row("HermesLLM", "llm.hermes:LLM", "API_SERVER_KEY",
        {"base_url": "http://127.0.0.1:8642/v1", "model": None, "timeout": 120.0, "session_key": None,
         "session_key_from": None, "session_key_factory": None}),
    Row("OpenClawLLM", "llm.openclaw:LLM", "OPENCLAW_API_KEY",
        {"base_url": "http://127.0.0.1:18789/v1", "timeout": 120.0}, {"agent": "main"}),
)  # fmt: skip

each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.flat)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in EVERY_VARIABLE:
        monkeypatch.delenv(variable, raising=False)


def class_of(row: Row) -> Any:
    return getattr(getpatter, row.flat)


def made(row: Row, **more: Any) -> Any:
    if row.flat == "LiteLLMLLM" and find_spec("litellm") is None:
        pytest.skip("the extra is not installed")
    return class_of(row)(**{"api_key": KEY, **row.needed, **more})


@each
def test_both_names_are_one_class(row: Row) -> None:
    module, _, name = row.deep.partition(":")
    assert getattr(import_module(f"getpatter.{module}"), name) is class_of(row)


@each
def test_parameters_and_defaults(row: Row) -> None:
    parameters = inspect.signature(class_of(row)).parameters
    first = next(iter(parameters))
    assert first == ("agent" if row.flat == "OpenClawLLM" else "api_key")
    assert parameters["api_key"].default == ("" if row.deep.startswith("engines") else None)
    plain = repr(made(row)) if "options" in parameters else ""
    for name, default in row.parameters.items():
        if name in parameters:
            assert parameters[name].default == default, name
        else:  # handed on to another class, which knows it
            assert repr(made(row, **{name: default})) == plain, name


@each
def test_the_environment_and_the_error_that_names_it(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not row.variable:
        assert made(row, api_key=None)
        return
    with pytest.raises(ValueError, match=rf"api_key.*{row.variable}"):
        class_of(row)(**row.needed)
    monkeypatch.setenv(row.variable, KEY)
    made(row, api_key="" if row.deep.startswith("engines") else None)


@each
def test_an_unknown_keyword_is_a_type_error(row: Row) -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        class_of(row)(api_key=KEY, **row.needed, no_such_option=1)


@each
def test_the_key_is_shown_nowhere(row: Row) -> None:
    provider = made(row)
    assert KEY not in repr(provider)
    assert KEY.encode() not in pickle.dumps(provider)


@each
def test_clones_are_alike(row: Row) -> None:
    if row.deep.startswith("engines"):
        return  # frozen dataclasses: nothing in them belongs to a call
    provider = made(row)
    twin = provider.clone()
    assert twin is not provider
    assert repr(twin) == repr(provider)


def test_a_missing_extra_is_an_import_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ImportError, match=r"pip install 'getpatter\[litellm\]'"):
        getpatter.LiteLLMLLM(KEY)


def test_every_extra_of_the_documents_can_be_installed() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    documented = (
        "silero anthropic groq cerebras google cartesia assemblyai soniox speechmatics rime lmnt tracing scheduling "
        "mcp litellm turn-detector krisp deepfilternet ivr telnyx-ai local all dev"
    )
    assert set(documented.split()) <= set(extras)
