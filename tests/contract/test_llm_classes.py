"""Every language model is made in the same way: keys, keywords, names, what it shows of itself."""

from __future__ import annotations

import importlib
from typing import Any, Final

import pytest

import getpatter
from getpatter.llm._model import Who

KEY: Final = "made-up-key-0123456789"
SAMPLING: Final = {
    "temperature": 0.5,
    "max_tokens": 100,
    "top_p": 0.9,
    "stop": ["."],
    "seed": 1,
    "response_format": {"type": "json_object"},
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
}
ROWS: Final[dict[str, tuple[str, str, dict[str, object]]]] = {
    "OpenAILLM": ("openai", "OPENAI_API_KEY", {"model": "gpt-4.1-mini", **SAMPLING}),
    "AnthropicLLM": (
        "anthropic",
        "ANTHROPIC_API_KEY",
        {
            "model": "claude-haiku-4-5-20251001",
            "max_tokens": 1024,
            "temperature": None,
            "base_url": None,
            "prompt_caching": True,
            "top_p": 0.9,
            "stop": "x",
            "tool_choice": "required",
            "parallel_tool_calls": False,
        },
    ),
    "GroqLLM": ("groq", "GROQ_API_KEY", {"model": "m", "base_url": "http://x/v1", **SAMPLING}),
    "CerebrasLLM": (
        "cerebras",
        "CEREBRAS_API_KEY",
        {
            "model": "m",
            "base_url": "http://x/v1",
            "gzip_compression": False,
            "msgpack_encoding": False,
            **SAMPLING,
        },
    ),
    "GoogleLLM": (
        "google",
        "GEMINI_API_KEY",
        {
            "model": "gemini-2.5-flash",
            "vertexai": False,
            "project": None,
            "location": None,
            "temperature": None,
            "max_output_tokens": None,
            "top_p": 0.9,
            "stop": ["."],
            "seed": 1,
            "response_format": {"type": "json_object"},
            "tool_choice": "auto",
            "frequency_penalty": 0.1,
            "presence_penalty": 0.1,
        },
    ),
}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, variable, _ in ROWS.values():
        monkeypatch.delenv(variable, raising=False)
    for variable in ("GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(variable, raising=False)


def class_of(name: str) -> Any:
    return getattr(getpatter, name)


@pytest.mark.parametrize("name", ROWS)
def test_both_names_are_one_class(name: str) -> None:
    module = importlib.import_module(f"getpatter.llm.{ROWS[name][0]}")
    assert class_of(name) is module.LLM


@pytest.mark.parametrize("name", ROWS)
def test_the_key_comes_first_or_from_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = ROWS[name][1]
    with pytest.raises(ValueError, match=rf"api_key.*{variable}"):
        class_of(name)()
    class_of(name)(KEY)
    with pytest.raises(TypeError):
        class_of(name)(KEY, "gpt-4o")
    monkeypatch.setenv(variable, KEY)
    llm = class_of(name)()
    monkeypatch.delenv(variable)
    assert llm.clone().model == llm.model, "the variable is read once"


def test_the_other_variable_of_google(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    class_of("GoogleLLM")()


@pytest.mark.parametrize("name", ROWS)
def test_documented_keywords_are_taken_and_others_refused(name: str) -> None:
    llm = class_of(name)(KEY, **ROWS[name][2])
    assert llm.model == ROWS[name][2]["model"]
    with pytest.raises(TypeError, match="tempreature"):
        class_of(name)(KEY, tempreature=0.5)


@pytest.mark.parametrize(
    ("name", "keyword"),
    [
        ("AnthropicLLM", "seed"),
        ("AnthropicLLM", "presence_penalty"),
        ("GoogleLLM", "parallel_tool_calls"),
    ],
)
def test_keywords_that_a_vendor_does_not_know_are_refused(name: str, keyword: str) -> None:
    with pytest.raises(TypeError, match=keyword):
        class_of(name)(KEY, **{keyword: 1})


@pytest.mark.parametrize("name", ROWS)
def test_values_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="model"):
        class_of(name)(KEY, model="")
    with pytest.raises(ValueError, match="base_url"):
        class_of(name)(KEY, base_url="ftp://example.com")
    with pytest.raises(ValueError, match="timeout"):
        class_of(name)(KEY, timeout=0)
    with pytest.raises(TypeError, match="api_key"):
        class_of(name)(42)


@pytest.mark.parametrize("name", ROWS)
def test_a_model_has_a_price_and_hides_its_key(name: str) -> None:
    llm = class_of(name)(KEY)
    assert llm.provider_key == ROWS[name][0]
    assert KEY not in repr(llm)
    assert llm.model in repr(llm)


def test_custom_is_compatible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_of("CustomLLM") is class_of("OpenAICompatibleLLM")
    make = class_of("CustomLLM")
    assert make(base_url="http://localhost:8000/v1", model="llama").model == "llama"
    with pytest.raises(TypeError, match="base_url"):
        make(model="llama")
    with pytest.raises(TypeError, match="model"):
        make(base_url="http://localhost:8000/v1")
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ValueError, match="MY_KEY"):
        make(base_url="http://localhost:8000/v1", model="llama", api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", KEY)
    headers = {"x-team": "secret-0123456789"}
    llm = make(
        base_url="http://localhost:8000/v1",
        model="llama",
        api_key_env="MY_KEY",
        timeout=60.0,
        extra_headers=headers,
    )
    assert KEY not in repr(llm)
    assert "secret" not in repr(llm)
    sent = llm._request([{"role": "user", "content": "Hi"}], None, Who("c1")).headers
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["x-team"] == "secret-0123456789"
    plain = make(base_url="http://localhost:8000/v1", model="llama")
    assert (
        "authorization"
        not in plain._request([{"role": "user", "content": "Hi"}], None, Who("c1")).headers
    )
