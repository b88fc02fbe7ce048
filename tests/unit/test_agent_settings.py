"""Language, voice and model of an agent reach providers that were built without one; all of them are in the table."""

from __future__ import annotations

from typing import Any, Final

import pytest

import getpatter
from getpatter.agent import build_agent
from getpatter.net.service import Service
from getpatter.runtime.services import Originals, open_services
from getpatter.types import DefaultStr

ITALIAN: Final = {"language": "it-IT", "voice": "giulia", "model": "other-1"}
TABLE: Final[dict[str, dict[str, str]]] = {
    "AssemblyAISTT": {"language": "it"},
    "CartesiaSTT": {"language": "it"},
    "DeepgramSTT": {"language": "it-IT"},
    "ElevenLabsSTT": {"language": "it"},
    "OpenAITranscribeSTT": {"language": "it"},
    "SpeechmaticsSTT": {"language": "it"},
    "TelnyxSTT": {"language": "it"},
    "WhisperSTT": {"language": "it"},
    "CartesiaTTS": {"language": "it", "voice": "giulia"},
    "InworldTTS": {"language": "it-IT", "voice": "giulia"},
    "LMNTTTS": {"voice": "giulia"},
    "OpenAITTS": {"voice": "giulia"},
    "TelnyxTTS": {"voice": "Telnyx.NaturalHD.astra"},
    "AnthropicLLM": {"model": "other-1"},
    "CerebrasLLM": {"model": "other-1"},
    "GoogleLLM": {"model": "other-1"},
    "GroqLLM": {"model": "other-1"},
    "OpenAILLM": {"model": "other-1"},
}
"""Class -> what it has of `ITALIAN` when it was built without."""
KINDS: Final = ("STT", "TTS", "LLM")
OUTSIDE: Final[dict[str, str]] = {
    "DeepgramFluxSTT": "its model is its language",
    "DeepgramTTS": "its model is its voice and language",
    "ElevenLabsTTS": "most of its models refuse a language, and voices are ids",
    "ElevenLabsWebSocketTTS": "most of its models refuse a language, and voices are ids",
    "ElevenLabsRestTTS": "most of its models refuse a language, and voices are ids",
    "RimeTTS": "its speakers belong to its models",
    "SonioxSTT": "it finds languages out, and takes hints",
    "CustomLLM": "it has no model by default",
    "OpenAICompatibleLLM": "it has no model by default",
    "HermesLLM": "its server knows its model",
    "OpenClawLLM": "its server knows its agent",
    "InworldLLM": "its model is that of a router",
    "LiteLLMLLM": "its models are of many vendors",
}


def providers() -> dict[str, type[Service]]:
    found: dict[str, type[Service]] = {}
    for name in getpatter.__all__:
        try:
            thing: Any = getattr(getpatter, name)
        except ImportError:
            continue
        if isinstance(thing, type) and issubclass(thing, Service) and name.endswith(KINDS):
            found[name] = thing
    return found


def test_every_provider_is_in_the_table() -> None:
    known = set(providers())
    assert known - set(OUTSIDE) == set(TABLE)
    for name, kind in providers().items():
        assert bool(kind.agent_settings) == (name in TABLE), name


@pytest.mark.parametrize("name", sorted(TABLE))
def test_what_was_not_named_is_the_agents(name: str) -> None:
    kind: Any = providers()[name]
    voice = {"voice": TABLE[name]["voice"]} if name == "TelnyxTTS" else {}
    mine = kind("key")
    fitted: Any = mine.with_agent(ITALIAN | voice)
    assert fitted is not mine
    assert {each: getattr(fitted, each) for each in TABLE[name]} == TABLE[name]
    assert type(getattr(fitted, next(iter(TABLE[name])))) is str


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"TelnyxTTS"}))
def test_what_was_named_stays(name: str) -> None:
    kind: Any = providers()[name]
    named = dict.fromkeys(kind.agent_settings.values(), "de")
    mine = kind("key", **named)
    fitted = mine.with_agent(ITALIAN)
    assert repr(fitted) == repr(mine)


def test_an_agent_that_names_no_language_leaves_the_vendor_to_find_out() -> None:
    stt = getpatter.OpenAITranscribeSTT("key")
    assert stt.with_agent({"language": DefaultStr("en")}).language == ""
    assert stt.with_agent({"language": "en"}).language == "en"


async def test_a_call_has_providers_that_fit_its_agent_and_the_programs_own_stay() -> None:
    stt, llm = getpatter.WhisperSTT("key"), getpatter.OpenAILLM("key")
    tts = getpatter.CartesiaTTS("key", voice="mine")
    agent = build_agent(
        "x", None, stt=stt, tts=tts, llm=llm, language="it-IT", voice="giulia", model="other-1"
    )
    services = open_services(agent, Originals())
    ears, mouth, model = services.stt, services.tts, services.llm
    assert isinstance(ears, getpatter.WhisperSTT)
    assert isinstance(mouth, getpatter.CartesiaTTS)
    assert isinstance(model, getpatter.OpenAILLM)
    assert (ears.language, mouth.language, mouth.voice, model.model) == (
        "it",
        "it",
        "mine",
        "other-1",
    )
    assert (stt.language, tts.language, llm.model) == ("en", "en", getpatter.OpenAILLM("key").model)
    await services.close()
