"""Declaring an agent: what is checked, which mode is chosen, what is said about the rest."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from getpatter.agent import (
    AgcConfig,
    Agent,
    CompactionConfig,
    ConsultConfig,
    HookContext,
    Makers,
    PipelineHooks,
    RealtimeTurnDetection,
    SessionContext,
    Skill,
    allows_transfer,
    build_agent,
    is_exact_entry,
)
from getpatter.errors import PatterDeprecationWarning
from getpatter.models import STTConfig, Transcript, TTSConfig
from getpatter.tools import Guardrail, Tool


@dataclass(frozen=True)
class OneEngine:
    """Speech to speech by anybody."""

    kind: str = "one"
    voice: str | None = None
    model: str | None = None


class OneSTT:
    """A recogniser written by a user."""

    async def connect(self) -> None: ...
    async def send_audio(self, pcm: bytes) -> None: ...
    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        yield Transcript("", is_final=True)

    async def close(self) -> None: ...


class OneTTS:
    """A voice written by a user."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        yield text.encode()

    async def close(self) -> None: ...


class OneLLM:
    """A model written by a user."""

    async def stream(self, messages: object, tools: object = None) -> AsyncIterator[object]:
        yield messages


def handler(args: object, ctx: object) -> None: ...


BOOK = Tool(name="book", handler=handler)
MAKERS = Makers(
    engines={
        "one": lambda agent: OneEngine(voice=agent.voice, model=agent.model),
        "two": lambda agent: OneEngine("two"),
    },
    stt=lambda config: (config, OneSTT()),
    tts=lambda config: (config, OneTTS()),
)


def pipeline(**options: Any) -> Agent:
    return build_agent("Be kind.", MAKERS, **{"stt": OneSTT(), "tts": OneTTS(), **options})


# ---------------------------------------------------------------------------------------------- mode


def test_an_engine_decides_the_mode() -> None:
    engine = OneEngine()
    agent = build_agent("Be kind.", MAKERS, engine=engine)
    assert agent.engine is engine
    assert agent.mode == "engine"


def test_parts_of_a_pipeline_make_a_pipeline() -> None:
    agent = pipeline(llm=OneLLM())
    assert agent.engine is None
    assert agent.mode == "pipeline"


def test_nothing_at_all_means_the_default_engine_with_the_agents_voice_and_model() -> None:
    agent = build_agent("Be kind.", MAKERS, voice="nova", model="small")
    assert agent.engine == OneEngine(voice="nova", model="small")


def test_the_mode_by_name() -> None:
    assert build_agent("x", MAKERS, provider="two").engine == OneEngine("two")
    assert pipeline(provider="pipeline").mode == "pipeline"


def test_a_missing_credential_is_reported_now() -> None:
    def no_key(agent: Agent) -> OneEngine:
        raise ValueError("api_key is missing: pass api_key=... or set ONE_API_KEY")

    with pytest.raises(ValueError, match="ONE_API_KEY"):
        build_agent("x", Makers(engines={"one": no_key}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": OneEngine(), "stt": OneSTT()}, "engine excludes stt"),
        ({"engine": OneEngine(), "tts": OneTTS(), "stt": OneSTT()}, "excludes stt and tts"),
        ({"engine": OneEngine(), "provider": "one"}, "provider='one'"),
        ({"stt": OneSTT()}, "tts missing"),
        ({"tts": OneTTS()}, "stt missing"),
        ({"llm": OneLLM()}, "stt and tts missing"),
        ({"provider": "pipeline"}, "stt and tts missing"),
        ({"provider": "three"}, "'three' is none of \\['one', 'pipeline', 'two'\\]"),
        ({"provider": "one", "stt": OneSTT()}, "excludes stt"),
    ],
)
def test_conflicts(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_agent("x", MAKERS, **options)


def test_providers_by_name_are_made() -> None:
    stt, tts = STTConfig("any", "key"), TTSConfig("any", "key")
    agent = build_agent("x", MAKERS, stt=stt, tts=tts)
    assert isinstance(agent.stt, tuple)
    assert agent.stt[0] is stt
    assert isinstance(agent.tts, tuple)
    assert agent.tts[0] is tts
    with pytest.raises(ValueError, match="no provider 'any' is known"):
        build_agent("x", stt=stt, tts=tts)


def test_a_model_beside_an_engine_is_ignored_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        agent = build_agent("x", MAKERS, engine=OneEngine(), llm=OneLLM())
    assert agent.llm is None
    assert [record.getMessage().split()[0] for record in caplog.records] == ["agent.llm_ignored"]


def test_what_a_mode_cannot_honour_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build_agent("x", MAKERS, engine=OneEngine(), hooks=PipelineHooks(), max_history=20)
        pipeline(realtime_turn_detection=RealtimeTurnDetection(), max_history=20)
        pipeline(max_history=20, prewarm=False)
        build_agent("x", MAKERS, engine=OneEngine(), max_history=200)
    assert [record.getMessage() for record in caplog.records] == [
        "agent.parameters_ignored mode=engine parameters=hooks,max_history",
        "agent.parameters_ignored mode=pipeline parameters=realtime_turn_detection",
    ]


# -------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"voise": "nova"}, "unexpected keyword argument 'voise'"),
        ({"engine": OneEngine}, "write OneEngine\\(...\\) instead of OneEngine"),
        ({"engine": "one"}, "engine cannot be a str: it has no kind"),
        ({"stt": OneSTT}, "write OneSTT"),
        ({"stt": OneTTS()}, "has no connect, send_audio, receive_transcripts"),
        ({"stt": TTSConfig("a", "b")}, "stt cannot be a TTSConfig"),
        ({"tts": OneSTT()}, "has no synthesize"),
        ({"llm": object()}, "has no stream"),
        ({"vad": object()}, "has no process_frame"),
        ({"audio_filter": object()}, "has no process"),
        ({"turn_detector": object()}, "has no predict"),
        ({"first_message": 5}, "first_message must be str, not int"),
        ({"tools": BOOK}, "tools must be a list, not Tool"),
        ({"tools": "book"}, "tools must be a list"),
        ({"tools": [handler]}, "decorated with @tool"),
        ({"guardrails": ["sue"]}, "must be a Guardrail or a dict"),
        ({"variables": ["a"]}, "variables must be a dict"),
        ({"variables": {1: "a"}}, "variables must be a dict"),
        ({"hooks": {}}, "hooks must be PipelineHooks"),
        ({"text_transforms": ["x"]}, "text_transforms must be functions"),
        ({"barge_in_threshold_ms": "300"}, "must be int or float, not str"),
        ({"barge_in_threshold_ms": True}, "must be int or float, not bool"),
        ({"prewarm": 1}, "prewarm must be bool, not int"),
        ({"skills": ["x"]}, "skills must be Skill objects"),
        ({"handoffs": {"a": "b"}}, "handoffs must be Agent objects"),
        ({"agc": "on"}, "agc must be bool or AgcConfig"),
        ({"transfer_allow": "+15550001234"}, "transfer_allow must be a list"),
    ],
)
def test_wrong_types(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        build_agent("x", MAKERS, **options)


def test_the_prompt_is_a_text() -> None:
    with pytest.raises(TypeError, match="system_prompt must be str"):
        build_agent(None, MAKERS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tools": [BOOK, BOOK]}, "two tools are named 'book'"),
        ({"tools": [BOOK], "skills": [Skill("s", "d", "i", [BOOK])]}, "two tools are named"),
        ({"tools": [Tool(name="end_call", handler=handler)]}, "'end_call' is reserved"),
        ({"tools": [Tool(name="transfer_call", handler=handler)]}, "is reserved"),
        (
            {
                "tools": [Tool(name="consult_agent", handler=handler)],
                "consult": ConsultConfig(url="https://example.com"),
            },
            "is reserved",
        ),
        ({"tools": [{"name": "x", "handler": handler, "func": 1}]}, "unknown keys"),
        ({"barge_in_threshold_ms": -1}, "barge_in_threshold_ms is -1; it must be 0 or more"),
        ({"barge_in_threshold_ms": math.nan}, "is nan"),
        ({"max_history": 0}, "1 or more"),
        ({"language": "English (US)"}, "no language tag"),
        ({"language": ""}, "no language tag"),
        ({"barge_in_mode": "stop"}, "'stop' is neither"),
        ({"openai_realtime_noise_reduction": "far"}, "'far' is none of"),
    ],
)
def test_wrong_values(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_agent("x", MAKERS, **options)


def test_a_consult_tool_name_is_free_without_consult() -> None:
    tools = [Tool(name="consult_agent", handler=handler)]
    assert len(build_agent("x", MAKERS, tools=tools).tools) == 1


def test_none_means_the_default() -> None:
    agent = build_agent(
        "x", MAKERS, tools=None, guardrails=None, variables=None, handoffs=None, skills=None
    )
    assert agent == Agent("x", engine=agent.engine)


def test_addresses_are_judged() -> None:
    judged: list[str] = []
    hook = Tool(name="hook", webhook_url="https://a.example/x")
    skill_hook = Tool(name="skill_hook", webhook_url="https://b.example/x")
    build_agent(
        "x",
        dataclasses.replace(MAKERS, judge_url=judged.append),
        tools=[hook, BOOK],
        skills=[Skill("s", "d", "i", [skill_hook])],
        consult=ConsultConfig(url="https://c.example/x"),
    )
    assert judged == ["https://a.example/x", "https://b.example/x", "https://c.example/x"]


# --------------------------------------------------------------------------------------------- Agent


def test_an_agent_is_frozen_and_keeps_its_own_lists() -> None:
    tools: list[Any] = [{"name": "a", "handler": handler}]
    variables = {"name": "Ann"}
    agent = Agent(
        system_prompt="x",
        tools=tools,
        guardrails=[{"name": "g", "blocked_terms": ["sue"]}],  # type: ignore[list-item]
        variables=variables,
        transfer_allow=["+1555"],
    )
    tools.append(BOOK)
    variables["name"] = "Bob"
    assert agent.tools == (Tool(name="a", handler=handler),)
    assert agent.guardrails == (Guardrail(name="g", blocked_terms=["sue"]),)
    assert agent.variables == {"name": "Ann"}
    assert agent.transfer_allow == ("+1555",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        agent.system_prompt = "y"  # type: ignore[misc]
    assert {agent, agent}


def test_other_agents_by_name() -> None:
    billing = Agent("You do the bills.")
    agent = build_agent("x", MAKERS, handoffs={"billing": billing})
    assert agent.handoffs["billing"] is billing


# ----------------------------------------------------------------------------------------- transfers


@pytest.mark.parametrize(
    "entry",
    [
        "+15550001234",
        "+1555",
        "+1555*",
        "+*",
        "+",
        "sip:a@b.example",
        "sips:a@b.example",
        "sip:*@x*",
    ],
)
def test_destinations_that_may_be_listed(entry: str) -> None:
    if entry == "sip:*@x*":
        with pytest.raises(ValueError, match="no destination"):
            build_agent("x", MAKERS, transfer_allow=[entry])
    else:
        assert build_agent("x", MAKERS, transfer_allow=[entry]).transfer_allow == (entry,)


@pytest.mark.parametrize("entry", ["", "*", "15550001234", "+1 555", "+1555**", "+1*5", "sip:", 5])
def test_what_is_no_destination_is_not_shown(entry: Any) -> None:
    with pytest.raises(ValueError, match="no destination") as caught:
        build_agent("x", MAKERS, transfer_allow=[entry])
    assert str(entry) not in str(caught.value).split("write")[0] or entry in {"", "*", 5}


@pytest.mark.parametrize(
    ("allow", "destination", "allowed"),
    [
        (None, "+15550001234", True),
        ([], "+15550001234", False),
        (["+15550001234"], "+15550001234", True),
        (["+15550001234"], "+155500012345", False),
        (["+15550001234*"], "+155500012345", True),
        (["+1555"], "+15550001234", True),
        (["+1555*"], "+15560001234", False),
        (["sip:desk@x.example"], "SIP:desk@X.example", True),
        (["sip:desk@x.example"], "sip:desk@x.example.evil", False),
        (["sip:desk*"], "sip:desk2@x.example", True),
        (["+44", "+1555*"], "+15550001234", True),
    ],
)
def test_where_a_call_may_go(allow: list[str] | None, destination: str, allowed: bool) -> None:
    assert allows_transfer(allow, destination) is allowed


def test_which_entries_are_exact() -> None:
    exact = [
        entry
        for entry in ("+15550001234", "+1555", "+15550001234*", "sip:a@b")
        if is_exact_entry(entry)
    ]
    assert exact == ["+15550001234", "sip:a@b"]


# --------------------------------------------------------------------------------------------- hooks


def hook(value: object, ctx: object) -> object:
    return value


def test_hooks_have_two_names() -> None:
    old = PipelineHooks(before_stt=hook, after_stt=hook, before_tts=hook, after_tts=hook)
    new = PipelineHooks(
        before_send_to_stt=hook,
        after_transcribe=hook,
        before_synthesize=hook,
        after_synthesize=hook,
    )
    assert old == new
    assert (old.before_stt, old.after_stt, old.before_tts, old.after_tts) == (hook,) * 4
    assert dataclasses.replace(old, before_llm=hook).before_llm is hook
    with pytest.raises(TypeError, match="the same hook"):
        PipelineHooks(before_stt=hook, before_send_to_stt=hook)
    with pytest.raises(TypeError, match="before_llm must be a function"):
        PipelineHooks(before_llm="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        PipelineHooks(before_everything=hook)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        old.before_llm = hook  # type: ignore[misc]


def test_after_llm_is_a_dict_or_an_object() -> None:
    class Stages:
        """Only one stage."""

        def on_chunk(self, chunk: str) -> str:
            return chunk.upper()

    as_object = PipelineHooks(after_llm=Stages()).after_llm_stage("on_chunk")
    assert as_object is not None
    assert as_object("a") == "A"
    as_dict = PipelineHooks(after_llm={"on_sentence": hook, "on_response": None})
    assert as_dict.after_llm_stage("on_sentence") is hook
    assert as_dict.after_llm_stage("on_response") is None
    assert PipelineHooks().after_llm_stage("on_chunk") is None
    with pytest.raises(ValueError, match="not \\['on_word'\\]"):
        PipelineHooks(after_llm={"on_word": hook})
    with pytest.raises(TypeError, match="on_chunk"):
        PipelineHooks(after_llm={"on_chunk": 5})
    with pytest.raises(TypeError, match="a int has none"):
        PipelineHooks(after_llm=5)


def test_a_bare_function_after_the_model_sees_the_response() -> None:
    with pytest.warns(PatterDeprecationWarning, match="on_response") as caught:
        hooks = PipelineHooks(after_llm=hook)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert hooks.after_llm_stage("on_response") is hook
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataclasses.replace(hooks, before_llm=hook)


# -------------------------------------------------------------------------------------------- pieces


def test_skills() -> None:
    assert Skill("s", "d", "i", [BOOK]).tools == (BOOK,)
    with pytest.raises(ValueError, match="not valid"):
        Skill("two words", "d", "i")
    with pytest.raises(TypeError, match="instructions must be a text"):
        Skill("s", "d", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tools must be a list"):
        Skill("s", "d", "i", BOOK)  # type: ignore[arg-type]


def test_consult_needs_one_target_and_hides_its_secrets() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        ConsultConfig()
    with pytest.raises(ValueError, match="exactly one"):
        ConsultConfig(url="https://example.com", openai_compatible={"model": "m"})
    with pytest.raises(ValueError, match="url must look like"):
        ConsultConfig(url="example.com")
    with pytest.raises(ValueError, match="tool_name"):
        ConsultConfig(url="https://example.com", tool_name="two words")
    with pytest.raises(ValueError, match="timeout_s is 0"):
        ConsultConfig(url="https://example.com", timeout_s=0)
    config = ConsultConfig(url="https://example.com", headers={"Authorization": "s3cret"})
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: AgcConfig(target_dbfs=5), ValueError),
        (lambda: AgcConfig(attack_ms="1"), TypeError),  # type: ignore[arg-type]
        (lambda: CompactionConfig(trigger_tokens=0), ValueError),
        (lambda: RealtimeTurnDetection(type="magic"), ValueError),  # type: ignore[arg-type]
        (lambda: RealtimeTurnDetection(threshold=2), ValueError),
        (lambda: RealtimeTurnDetection(eagerness="very"), ValueError),  # type: ignore[arg-type]
    ],
)
def test_settings_in_range(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_contexts() -> None:
    assert HookContext("c", history=[{"role": "user"}]).history == ({"role": "user"},)  # type: ignore[arg-type]
    assert SessionContext(call_id="c").caller == ""
