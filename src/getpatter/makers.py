"""How to make what an agent names but does not hold: the export table of engines and default models."""

from __future__ import annotations

from getpatter import config
from getpatter.agent import Agent, Makers


def standard_makers() -> Makers:
    """The vendors that this release has."""
    return Makers()


def standard_llm(agent: Agent) -> Agent:
    """The agent with the default model.

    Raises:
        ValueError: there is no key for it.
    """
    del agent
    config.credential(
        "OPENAI_API_KEY", owner="pipeline agent without llm and on_message", argument="llm"
    )
    raise ValueError(
        "a pipeline agent needs somebody who answers: pass agent(llm=...) or serve(on_message=...)"
    )
