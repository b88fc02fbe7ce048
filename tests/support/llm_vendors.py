"""Every language model beside the fake of its vendor: what the parity tests are run over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from getpatter import (
    AnthropicLLM,
    CerebrasLLM,
    GoogleLLM,
    GroqLLM,
    InworldLLM,
    LiteLLMLLM,
    OpenAICompatibleLLM,
    OpenAILLM,
)
from getpatter.llm._model import Model
from getpatter.testing.fake_llm import FakeLLM, Says
from getpatter.testing.fake_llm_anthropic import FakeAnthropic
from getpatter.testing.fake_llm_chat import (
    FakeCerebras,
    FakeGroq,
    FakeInworldRouter,
    FakeOpenAI,
    FakeServer,
)
from getpatter.testing.fake_llm_google import FakeGemini


class GuardedServer(FakeServer):
    """A server of one's own that wants a key."""

    needs_key = True


@dataclass(frozen=True)
class Vendor:
    """A model class and its fake service."""

    name: str
    service: Callable[[Iterable[Says]], FakeLLM]
    llm: Callable[[str, str, float], Model]
    """From key, address and time limit."""
    is_package: bool = False
    """Somebody else's package speaks to the vendor: what it hides cannot be seen."""


VENDORS: Final = (
    Vendor(
        "openai", FakeOpenAI, lambda key, url, limit: OpenAILLM(key, base_url=url, timeout=limit)
    ),
    Vendor("groq", FakeGroq, lambda key, url, limit: GroqLLM(key, base_url=url, timeout=limit)),
    Vendor(
        "cerebras",
        FakeCerebras,
        lambda key, url, limit: CerebrasLLM(key, base_url=url, timeout=limit),
    ),
    Vendor(
        "inworld_llm",
        FakeInworldRouter,
        lambda key, url, limit: InworldLLM(key, base_url=url, model="m", timeout=limit),
    ),
    Vendor(
        "openai_compatible",
        GuardedServer,
        lambda key, url, limit: OpenAICompatibleLLM(key, base_url=url, model="m", timeout=limit),
    ),
    Vendor(
        "anthropic",
        FakeAnthropic,
        lambda key, url, limit: AnthropicLLM(key, base_url=url, timeout=limit),
    ),
    Vendor(
        "google", FakeGemini, lambda key, url, limit: GoogleLLM(key, base_url=url, timeout=limit)
    ),
)

WITH_PACKAGES: Final = (
    *VENDORS,
    *(
        (
            Vendor(
                "litellm",
                FakeOpenAI,
                lambda key, url, limit: LiteLLMLLM(
                    key, model="openai/gpt-4o-mini", api_base=url, timeout=limit
                ),
                is_package=True,
            ),
        )
        if find_spec("litellm") is not None
        else ()
    ),
)
"""And those that an installed package speaks to."""
