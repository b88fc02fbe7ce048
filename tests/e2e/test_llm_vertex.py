"""Gemini in a project of Google Cloud: tokens instead of a key, from the program or from google-auth."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from getpatter import GoogleLLM
from getpatter.errors import AuthenticationError
from getpatter.testing.fake_llm import Says
from getpatter.testing.fake_llm_google import FakeVertex

ASKED = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)


def model(service: FakeVertex, **options: Any) -> GoogleLLM:
    given: dict[str, Any] = {
        "vertexai": True,
        "project": "my-project",
        "base_url": service.url,
    } | options
    return GoogleLLM(**given)


async def said(llm: GoogleLLM) -> str:
    return "".join([chunk.content async for chunk in llm.stream(ASKED) if chunk.type == "text"])


async def test_a_token_may_be_a_text_or_a_function_async_or_not() -> None:
    async with FakeVertex([Says("One."), Says("Two."), Says("Three.")]) as service:

        async def later() -> str:
            return service.key

        for token, answer in (
            (service.key, "One."),
            (lambda: service.key, "Two."),
            (later, "Three."),
        ):
            llm = model(service, access_token=token, location="europe-west1")
            assert await said(llm) == answer
            await llm.close()
        paths = {call.path for call in service.calls}
        where = "projects/my-project/locations/europe-west1/publishers/google/models"
        assert paths == {f"/v1/{where}/gemini-2.5-flash:streamGenerateContent"}


async def test_each_request_asks_for_a_token_that_is_valid_now() -> None:
    async with FakeVertex([Says("One."), Says("Two.")]) as service:
        old = service.key
        tokens = [old, "renewed-0123456789"]
        llm = model(service, access_token=lambda: tokens.pop(0))
        assert await said(llm) == "One."
        service.key = "renewed-0123456789"
        assert await said(llm.clone()) == "Two."
        assert service.calls[-1].path.count("/locations/global/") == 1
        await llm.close()


async def test_a_token_that_has_expired_is_an_authentication_error() -> None:
    async with FakeVertex() as service:
        llm = model(service, access_token="old-token-0123456789")
        with pytest.raises(AuthenticationError) as caught:
            await said(llm)
        assert "old-token" not in str(caught.value)
        await llm.close()


async def test_the_machines_own_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    auth = pytest.importorskip("google.auth")
    credentials = pytest.importorskip("google.oauth2.credentials")
    async with FakeVertex([Says("Mine.")]) as service:
        own = credentials.Credentials(token=service.key)
        monkeypatch.setattr(auth, "default", lambda scopes: (own, "my-project"))
        llm = model(service)
        assert await said(llm) == "Mine."
        await llm.close()


async def test_credentials_that_are_none_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("google.auth")
    wrong = tmp_path / "credentials.json"
    wrong.write_text(json.dumps({"type": "unheard_of"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(wrong))
    async with FakeVertex() as service:
        llm = model(service)
        with pytest.raises(AuthenticationError, match="access_token"):
            await said(llm)
        await llm.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_googles_own_client_speaks_to_the_fake_in_the_same_words() -> None:
    genai = pytest.importorskip("google.genai")
    credentials = pytest.importorskip("google.oauth2.credentials")
    async with FakeVertex([Says("From theirs.")]) as service:
        client = genai.Client(
            vertexai=True,
            project="my-project",
            location="europe-west1",
            credentials=credentials.Credentials(token=service.key),
            http_options={"base_url": service.url},
        )
        stream = await client.aio.models.generate_content_stream(
            model="gemini-2.5-flash", contents="Hello"
        )
        assert "".join([chunk.text or "" async for chunk in stream]) == "From theirs."
        await client.aio.aclose()
        assert "/projects/my-project/locations/europe-west1/publishers/google/models/" in (
            service.calls[-1].path
        )


def test_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="GEMINI_API_KEY"):
        GoogleLLM(vertexai=True)
    llm = GoogleLLM(vertexai=True, project="my-project", access_token="token-0123456789")
    assert "token-0123456789" not in repr(llm)
    assert b"token-0123456789" not in pickle.dumps(llm)
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(ImportError, match=r"pip install 'getpatter\[google\]'"):
        GoogleLLM(vertexai=True, project="my-project")
