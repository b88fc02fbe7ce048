"""How to make what an agent names but does not hold: the export table of engines and default models."""

from __future__ import annotations

import dataclasses

from getpatter import config
from getpatter.agent import Agent, Makers


def standard_makers() -> Makers:
    """The vendors that this release has."""
    return Makers()


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
