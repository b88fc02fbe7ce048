"""What `Patter` accepts and refuses before anything is opened."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from getpatter import (
    DeepgramSTT,
    ElevenLabsTTS,
    OpenAILLM,
    Patter,
    PatterConnectionError,
    PatterDeprecationWarning,
    STTConfig,
    TTSConfig,
    Twilio,
)
from getpatter.makers import standard_llm
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.tunnels import Ngrok, Static

SID = "AC" + "0" * 32
NUMBER = "+15550001234"
KEY = "made-up-key-0123456789"


def carrier() -> Twilio:
    return Twilio(account_sid=SID, auth_token="token")


def phone(**options: Any) -> Patter:
    given: dict[str, Any] = {
        "carrier": carrier(),
        "phone_number": NUMBER,
        "webhook_url": "agent.example",
    } | options
    return Patter(**given)


def agent(patter: Patter, **options: Any) -> Any:
    given: dict[str, Any] = {"stt": ScriptedSTT([]), "tts": ScriptedTTS()} | options
    return patter.agent(system_prompt="You answer.", **given)


def serve(patter: Patter, *args: Any, **options: Any) -> None:
    asyncio.run(patter.serve(*args, **options))


@pytest.mark.parametrize("number", ["", "5550001234", "+0123456789", "+1555", "+1555000123456789"])
def test_a_carrier_needs_a_real_number(number: str) -> None:
    with pytest.raises(ValueError, match=r"phone_number.*E\.164"):
        phone(phone_number=number)


@pytest.mark.parametrize(
    "host",
    [
        "https://abc.ngrok.io",
        "abc.ngrok.io/webhooks",
        "abc.ngrok.io?x",
        "a@b.example",
        "a b",
        "a#b",
    ],
)
def test_the_host_is_a_bare_name_and_the_error_shows_one(host: str) -> None:
    with pytest.raises(ValueError, match=r"abc123\.ngrok\.io"):
        phone(webhook_url=host)


def test_a_host_may_have_a_port() -> None:
    assert isinstance(phone(webhook_url="agent.example:8443"), Patter)


def test_only_a_carrier_is_a_carrier() -> None:
    with pytest.raises(TypeError, match=r"Twilio\(\)"):
        Patter(carrier="twilio", phone_number=NUMBER)  # type: ignore[arg-type]


def test_an_unknown_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="phone_numbers"):
        Patter(phone_numbers=NUMBER)


def test_no_secret_and_no_number_shows() -> None:
    shown = repr(phone())
    assert "token" not in shown
    assert NUMBER not in shown


def test_telemetry_is_accepted_and_there_is_none() -> None:
    assert isinstance(phone(telemetry=True), Patter)


class TestOlderSpelling:
    """`Patter(mode="local", twilio_sid=..., ...)`."""

    @pytest.mark.parametrize(
        "keywords",
        [
            {"mode": "local", "twilio_sid": SID, "twilio_token": "t", "openai_key": "k"},
            {"twilioSid": SID, "twilioToken": "t", "openaiKey": "k"},
        ],
    )
    def test_it_works_and_warns_once_with_the_new_one(self, keywords: dict[str, Any]) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made = Patter(**keywords, phone_number=NUMBER, webhook_url="agent.example")
        assert "twilio" in repr(made)
        assert [each.category for each in caught] == [PatterDeprecationWarning]
        assert "carrier=Twilio(" in str(caught[0].message)

    def test_camel_case_names_the_server_too(self) -> None:
        with pytest.warns(PatterDeprecationWarning):
            made = Patter(
                twilioSid=SID, twilioToken="t", phoneNumber=NUMBER, webhookUrl="agent.example"
            )
        assert "***1234" in repr(made)

    @pytest.mark.filterwarnings("ignore::getpatter.errors.PatterDeprecationWarning")
    def test_its_provider_keys_are_for_what_is_made_here(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("OPENAI", "ELEVENLABS", "DEEPGRAM"):
            monkeypatch.delenv(f"{name}_API_KEY", raising=False)
        monkeypatch.setenv("ELEVENLABS_AGENT_ID", "agent-1")
        made = phone(openai_key=KEY, elevenlabs_key=KEY, deepgramKey=KEY)
        engine: Any = made.agent("Hi.").engine
        assert (engine.kind, engine.api_key) == ("openai_realtime", KEY)
        convai: Any = made.agent("Hi.", provider="elevenlabs_convai").engine
        assert convai.api_key == KEY
        pipeline: Any = made.agent("Hi.", stt=STTConfig("deepgram"), tts=TTSConfig("elevenlabs"))
        assert isinstance(pipeline.stt, DeepgramSTT)
        assert isinstance(pipeline.tts, ElevenLabsTTS)
        assert isinstance(standard_llm(pipeline, {"openai_key": KEY}).llm, OpenAILLM)
        with pytest.raises(ValueError, match="OPENAI_API_KEY"):
            phone().agent("Hi.", stt=STTConfig("whisper"), tts=TTSConfig("openai", "k"))

    def test_a_key_of_its_own_comes_first(self) -> None:
        with pytest.warns(PatterDeprecationWarning):
            made = phone(deepgram_key="another")
        own: Any = made.agent("Hi.", stt=STTConfig("deepgram", KEY), tts=TTSConfig("lmnt", KEY))
        assert own.stt._key == KEY

    @pytest.mark.filterwarnings("ignore::getpatter.errors.PatterDeprecationWarning")
    def test_it_does_not_mix_with_the_new_one(self) -> None:
        with pytest.raises(ValueError, match="exclude"):
            phone(twilio_sid=SID)
        with pytest.raises(ValueError, match="one carrier"):
            Patter(twilio_sid=SID, twilio_token="t", telnyx_key="k", phone_number=NUMBER)

    @pytest.mark.filterwarnings("ignore::getpatter.errors.PatterDeprecationWarning")
    def test_half_a_credential_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
        with pytest.raises(ValueError, match="TWILIO_AUTH_TOKEN"):
            Patter(twilio_sid=SID, phone_number=NUMBER)

    @pytest.mark.parametrize(
        "keywords", [{"mode": "cloud"}, {"api_key": "k"}, {"backend_url": "u"}]
    )
    def test_there_is_no_hosted_service(self, keywords: dict[str, Any]) -> None:
        with pytest.raises(NotImplementedError, match="local"):
            Patter(**keywords)


class TestServe:
    """`serve()` finds mistakes before a phone rings."""

    def test_it_needs_a_carrier(self) -> None:
        bare = Patter()
        with pytest.raises(ValueError, match="carrier"):
            serve(bare, agent(bare), on_message=lambda event: "")

    def test_it_needs_a_way_in(self) -> None:
        lost = phone(webhook_url="")
        with pytest.raises(ValueError, match=r"webhook_url.*tunnel=True"):
            serve(lost, agent(lost), on_message=lambda event: "")

    def test_a_static_tunnel_is_a_name(self) -> None:
        same = phone(tunnel=Static(hostname="agent.example"))
        with pytest.raises(ValueError, match="OPENAI_API_KEY"):
            serve(same, agent(same))
        with pytest.raises(ValueError, match="exclude"):
            phone(tunnel=Ngrok(hostname="other.example"))
        plain = phone()
        with pytest.raises(ValueError, match="exclude"):
            serve(plain, agent(plain), on_message=lambda event: "", tunnel=True)

    def test_somebody_must_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        mute = phone()
        with pytest.raises(ValueError, match="OPENAI_API_KEY"):
            serve(mute, agent(mute))

    def test_only_one_may_answer(self) -> None:
        torn = phone()
        with pytest.raises(ValueError, match="exclude"):
            serve(torn, agent(torn, llm=ScriptedLLM(["x"])), on_message=lambda event: "")

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"port": 0}, ValueError),
            ({"port": 65536}, ValueError),
            ({"port": True}, TypeError),
            ({"port": "8000"}, TypeError),
            ({"recording": "yes"}, TypeError),
            ({"on_call_start": "print"}, TypeError),
            ({"on_message": 5}, TypeError),
            ({"voicemail_message": None}, TypeError),
            ({"max_call_duration": 0}, ValueError),
            ({"max_call_duration": 14401}, ValueError),
            ({"max_concurrent_calls": 0}, ValueError),
            ({"idle_timeout": -1}, ValueError),
        ],
    )
    def test_arguments_are_checked(self, options: dict[str, Any], error: type[Exception]) -> None:
        strict = phone()
        with pytest.raises(error, match=next(iter(options))):
            serve(strict, agent(strict), **({"on_message": lambda event: ""} | options))

    def test_an_agent_is_an_agent(self) -> None:
        with pytest.raises(TypeError, match=r"phone\.agent"):
            serve(phone(), {"system_prompt": "x"})

    def test_ready_says_why_it_never_came(self) -> None:
        lost = phone(webhook_url="")

        async def wait() -> None:
            waiting = asyncio.ensure_future(_await(lost.ready))
            early = asyncio.ensure_future(_await(lost.tunnel_ready))
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="webhook_url"):
                await lost.serve(agent(lost), on_message=lambda event: "")
            for missed in (waiting, early):
                with pytest.raises(ValueError, match="webhook_url"):
                    await missed

        asyncio.run(wait())

    def test_disconnecting_before_serving_is_harmless(self) -> None:
        asyncio.run(phone().disconnect())


async def _await(awaitable: Any) -> Any:
    return await awaitable


class TestCall:
    """`call()` finds mistakes before it dials."""

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"to": "5550009876"}, ValueError),
            ({"from_number": "555"}, ValueError),
            ({"ring_timeout": 0}, ValueError),
            ({"ring_timeout": 601}, ValueError),
            ({"ring_timeout": "25"}, TypeError),
            ({"agent": "desk"}, TypeError),
            ({"machine_detection": 1}, TypeError),
            ({"on_machine_detection": "f"}, TypeError),
            ({"max_call_duration": 0}, ValueError),
        ],
    )
    def test_arguments_are_checked(self, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error, match=next(iter(options))):
            asyncio.run(phone().call(**({"to": "+15550009876"} | options)))

    def test_nothing_serves_nothing_calls(self) -> None:
        with pytest.raises(PatterConnectionError, match="serve"):
            asyncio.run(phone().call("+15550009876"))

    def test_the_older_callback_warns(self) -> None:
        with (
            pytest.warns(PatterDeprecationWarning, match="on_machine_detection"),
            pytest.raises(PatterConnectionError),
        ):
            asyncio.run(phone().call("+15550009876", on_machine=print))
