"""How to make what an agent names but does not hold: engines, recognisers, voices and the default model.

`keys` are the provider keys of the older `Patter(openai_key=..., ...)` form, under those names. What is made here uses
them where the program gave no other; the environment comes after them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from getpatter import config
from getpatter.agent import Agent, Engine, Makers
from getpatter.llm.base import LLMProvider
from getpatter.models import STTConfig, TTSConfig

logger = logging.getLogger(__name__)

NO_KEYS: Final[Mapping[str, str]] = MappingProxyType({})


class ClosableLLM(LLMProvider, Protocol):
    """A model with connections of its own."""

    async def close(self) -> None:
        """Give them back."""
        ...


def standard_makers(keys: Mapping[str, str] = NO_KEYS) -> Makers:
    """The vendors that this release has."""
    return Makers(
        engines={
            "openai_realtime": partial(_openai_realtime, keys),
            "elevenlabs_convai": partial(_elevenlabs_convai, keys),
        },
        stt=partial(_stt, keys),
        tts=partial(_tts, keys),
    )


def _stt(keys: Mapping[str, str], named: STTConfig) -> object:
    from getpatter.providers import made_stt  # noqa: PLC0415 - loaded where it is used

    return made_stt(named, keys)


def _tts(keys: Mapping[str, str], named: TTSConfig) -> object:
    from getpatter.providers import made_tts  # noqa: PLC0415 - as above

    return made_tts(named, keys)


def _openai_realtime(keys: Mapping[str, str], agent: Agent) -> Engine:
    del agent  # its voice and model are used by the call where the engine names none
    from getpatter.engines.openai import OpenAIRealtime  # noqa: PLC0415 - as above

    return OpenAIRealtime(keys.get("openai_key", ""))  # pyright: ignore[reportReturnType] # a `ClassVar` can be read like a property


def _elevenlabs_convai(keys: Mapping[str, str], agent: Agent) -> Engine:
    del agent
    from getpatter.engines.elevenlabs import ElevenLabsConvAI  # noqa: PLC0415 - as above

    return ElevenLabsConvAI(keys.get("elevenlabs_key", ""))  # pyright: ignore[reportReturnType] # as above


def text_llm(agent: Agent, keys: Mapping[str, str] = NO_KEYS) -> Agent:
    """The agent with a text model instead of what it has none with: an engine, or nothing.

    The default model answers, with the key of the agent's engine where that is of the same vendor.

    Raises:
        ValueError: there is no key for it.
    """
    engine = agent.engine
    if engine is None:
        return standard_llm(agent, keys)
    of_engine = getattr(engine, "api_key", "") if engine.kind.startswith("openai") else ""
    keys = {**keys, "openai_key": of_engine or keys.get("openai_key", "")}
    return standard_llm(dataclasses.replace(agent, engine=None), keys)


def standard_llm(agent: Agent, keys: Mapping[str, str] = NO_KEYS) -> Agent:
    """The agent with the default model: OpenAI's, `agent.model` if that names a text model.

    Raises:
        ValueError: there is no key for it.
    """
    key = config.credential(
        "OPENAI_API_KEY",
        keys.get("openai_key"),
        owner="pipeline agent without llm and on_message",
        argument="llm",
    )
    from getpatter.llm.openai import LLM, is_text_model  # noqa: PLC0415 - loaded where it is used

    llm = LLM(key, model=agent.model) if agent.model and is_text_model(agent.model) else LLM(key)
    return dataclasses.replace(agent, llm=llm)


def judging_llm(api_key: str | None, model: str) -> ClosableLLM:
    """The model that marks a conversation, told to answer in JSON. To be closed by whoever asked for it.

    Raises:
        ValueError: there is no key for it.
    """
    key = config.credential("OPENAI_API_KEY", api_key, owner="LLMJudge")
    from getpatter.llm.openai import LLM  # noqa: PLC0415 - loaded where it is used

    return LLM(key, model=model, response_format={"type": "json_object"})


def answerable(agent: Agent, on_message: object, keys: Mapping[str, str] = NO_KEYS) -> Agent:
    """The agent, with somebody who writes its replies: `on_message`, its own model, or the default one.

    Raises:
        ValueError: two could write them, or nobody.
    """
    if agent.mode == "engine":
        if on_message is not None:
            logger.warning("serve.on_message_unused reason=engine")
        return agent
    if on_message is not None:
        if agent.llm is not None:
            raise ValueError("agent.llm and on_message exclude each other: who shall answer?")
        return agent
    return agent if agent.llm is not None else standard_llm(agent, keys)
