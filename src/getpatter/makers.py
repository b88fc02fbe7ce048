"""How to make what an agent names but does not hold: the export table of engines and default models."""

from __future__ import annotations

import dataclasses

from getpatter import config
from getpatter.agent import Agent, Engine, Makers


def standard_makers() -> Makers:
    """The vendors that this release has."""
    return Makers(
        engines={
            "openai_realtime": _openai_realtime,
            "elevenlabs_convai": _elevenlabs_convai,
        }
    )


def _openai_realtime(agent: Agent) -> Engine:
    del agent  # its voice and model are used by the call where the engine names none
    from getpatter.engines.openai import OpenAIRealtime  # noqa: PLC0415 - loaded where it is used

    return OpenAIRealtime()  # pyright: ignore[reportReturnType] # a `ClassVar` can be read like a property


def _elevenlabs_convai(agent: Agent) -> Engine:
    del agent
    from getpatter.engines.elevenlabs import ElevenLabsConvAI  # noqa: PLC0415 - as above

    return ElevenLabsConvAI()  # pyright: ignore[reportReturnType] # as above


def standard_llm(agent: Agent) -> Agent:
    """The agent with the default model: OpenAI's, `agent.model` if that names a text model.

    Raises:
        ValueError: there is no key for it.
    """
    config.credential(
        "OPENAI_API_KEY", owner="pipeline agent without llm and on_message", argument="llm"
    )
    from getpatter.llm.openai import LLM, is_text_model  # noqa: PLC0415 - loaded where it is used

    llm = LLM(model=agent.model) if agent.model and is_text_model(agent.model) else LLM()
    return dataclasses.replace(agent, llm=llm)
