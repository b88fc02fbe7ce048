"""What every voice's class promises before anything is opened, and what its dialect does with rubbish."""

from __future__ import annotations

import base64
import inspect
import json
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import getpatter
from getpatter.audio.wav import wav_bytes
from getpatter.errors import (
    AuthenticationError,
    PatterConnectionError,
    PatterError,
    RateLimitError,
    WireError,
)
from getpatter.tts._http import HttpTTS
from getpatter.tts._pieces import Bare, cut
from getpatter.tts._socket import Failed, Ready, SocketTTS, Sound, Spoken, VoiceDialect
from getpatter.tts.base import TTSProvider
from getpatter.tts.cartesia import CartesiaTTS
from getpatter.tts.deepgram import DeepgramTTS
from getpatter.tts.elevenlabs import (
    VOICES,
    ElevenLabsRestTTS,
    ElevenLabsTTS,
    ElevenLabsTTSError,
    explained,
)
from getpatter.tts.elevenlabs_ws import ElevenLabsWebSocketTTS
from getpatter.tts.inworld import InworldTTS, LineReader
from getpatter.tts.lmnt import LMNTTTS
from getpatter.tts.openai import OpenAITTS
from getpatter.tts.rime import RimeTTS
from getpatter.tts.telnyx import TelnyxTTS
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K

KEY = "key-0123456789abcdef"
_ELEVEN = {
    "voice_id": "EXAVITQu4vr4xnSDxMaL", "model_id": "eleven_flash_v2_5", "output_format": None,
    "language_code": None, "voice_settings": None, "auto_mode": True, "inactivity_timeout": 60,
    "chunk_length_schedule": None, "chunk_size": None,
}  # fmt: skip

ROWS: list[tuple[type[Any], str, str, dict[str, Any]]] = [
    (ElevenLabsTTS, "elevenlabs", "ELEVENLABS_API_KEY", _ELEVEN),
    (ElevenLabsWebSocketTTS, "elevenlabs_ws", "ELEVENLABS_API_KEY",
     {**_ELEVEN, "open_timeout": 5.0, "frame_timeout": 30.0}),
    (ElevenLabsRestTTS, "elevenlabs", "ELEVENLABS_API_KEY", {**_ELEVEN, "chunk_size": 4096}),
    (OpenAITTS, "openai", "OPENAI_API_KEY",
     {"voice": "alloy", "model": "gpt-4o-mini-tts", "instructions": None, "speed": None}),
    (
        CartesiaTTS,
        "cartesia",
        "CARTESIA_API_KEY",
        {
            "model": "sonic-3", "voice": "f786b574-daa5-4673-aa0c-cbe3e8534c02", "language": "en",
            "sample_rate": 16000, "encoding": "pcm_s16le", "speed": None, "emotion": None, "volume": None,
        },
    ),
    (RimeTTS, "rime", "RIME_API_KEY",
     {"model": "arcana", "speaker": None, "lang": "eng", "sample_rate": 16000, "temperature": None,
      "top_p": None, "max_tokens": None, "repetition_penalty": None, "speed_alpha": None,
      "reduce_latency": None, "pause_between_brackets": None, "phonemize_between_brackets": None}),
    (LMNTTTS, "lmnt", "LMNT_API_KEY",
     {"model": "blizzard", "voice": "leah", "language": None, "format": "raw", "sample_rate": 16000,
      "temperature": 1.0, "top_p": 0.8}),
    (InworldTTS, "inworld", "INWORLD_API_KEY",
     {"model": "inworld-tts-2", "voice": "Ashley", "language": None, "audio_encoding": "PCM",
      "sample_rate": 16000, "bitrate": 64000, "temperature": None, "speaking_rate": 1.0,
      "delivery_mode": None}),
    (DeepgramTTS, "deepgram", "DEEPGRAM_API_KEY", {"model": "aura-2-thalia-en"}),
    (TelnyxTTS, "telnyx", "TELNYX_API_KEY", {"voice": "Telnyx.NaturalHD.astra"}),
]  # fmt: skip

each = pytest.mark.parametrize(
    ("kind", "module", "variable", "row"), ROWS, ids=[row[0].__name__ for row in ROWS]
)


@each
def test_flat_and_deep_names_are_one_class(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    assert getattr(getpatter, kind.__name__) is kind
    assert kind.__module__ == f"getpatter.tts.{module}"
    if kind is not ElevenLabsRestTTS:
        assert inspect.getmodule(kind).TTS is kind  # type: ignore[union-attr]


@each
def test_documented_parameters_are_taken(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    parameters = inspect.signature(kind).parameters
    assert next(iter(parameters)) == "api_key"
    assert parameters["api_key"].default is None
    for name, default in row.items():
        if name in parameters:
            assert parameters[name].default == default
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert repr(kind(KEY, **row)) == repr(kind(KEY))
    assert isinstance(kind(KEY), TTSProvider)


@each
def test_without_a_key_the_error_names_the_variable(
    kind: type[Any],
    module: str,
    variable: str,
    row: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=variable) as caught:
        kind()
    assert "api_key" in str(caught.value)
    monkeypatch.setenv(variable, KEY)
    assert isinstance(kind(), TTSProvider)


@each
def test_an_unknown_keyword_is_a_type_error(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        kind(KEY, no_such_option=1)


@each
def test_the_key_shows_nowhere(
    kind: type[Any],
    module: str,
    variable: str,
    row: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = kind(KEY)
    assert KEY not in repr(made)
    assert KEY not in made.voice_key
    assert KEY.encode() not in pickle.dumps(made)
    monkeypatch.setenv(variable, "another-key-9876543210")
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)


@each
def test_a_clone_sounds_the_same(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    made = kind(KEY)
    twin = made.clone()
    assert type(twin) is kind
    assert twin is not made
    assert twin.voice_key == made.voice_key
    assert twin.output_format == made.output_format


@each
def test_on_a_phone_it_speaks_the_phones_format_where_the_vendor_can(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    chosen = kind(KEY).with_output((MULAW_8K,))
    if kind is OpenAITTS:
        assert chosen is None
        assert kind(KEY).output_format == PCM16_24K
        return
    if kind is TelnyxTTS:
        assert chosen is None
        assert kind(KEY).with_output((PCM16_8K,)).output_format == PCM16_8K
        return
    assert chosen is not None
    assert chosen.output_format == MULAW_8K
    assert kind(KEY).output_format == PCM16_16K


@each
def test_made_for_a_carrier_it_speaks_that_carriers_format(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    if not hasattr(kind, "for_twilio"):
        assert kind is InworldTTS or kind is TelnyxTTS
        return
    if kind is OpenAITTS:
        assert kind.for_twilio(KEY).output_format == PCM16_24K
        return
    assert kind.for_twilio(KEY).output_format == MULAW_8K
    assert kind.for_twilio(KEY).with_output((PCM16_16K,)) is None
    assert kind.for_telnyx(KEY).output_format == PCM16_16K
    assert kind.for_telnyx(KEY).with_output((MULAW_8K,)) is None
    with pytest.raises(TypeError):
        kind.for_twilio(KEY, no_such_option=1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ElevenLabsTTS(KEY, output_format="mp3_44100_128"),
        lambda: ElevenLabsTTS(KEY, inactivity_timeout=181),
        lambda: ElevenLabsTTS(KEY, chunk_length_schedule=[120]),
        lambda: ElevenLabsTTS(KEY, chunk_length_schedule=[4], auto_mode=False),
        lambda: ElevenLabsTTS(KEY, chunk_length_schedule=[501], auto_mode=False),
        lambda: ElevenLabsTTS(KEY, chunk_size=0),
        lambda: ElevenLabsTTS(KEY, voice=" "),
        lambda: ElevenLabsWebSocketTTS(KEY, model_id="eleven_v3"),
        lambda: ElevenLabsWebSocketTTS(KEY, model_id="eleven_v3_alpha"),
        lambda: ElevenLabsWebSocketTTS(KEY, frame_timeout=0),
        lambda: OpenAITTS(KEY, model="tts-1", instructions="Kindly."),
        lambda: OpenAITTS(KEY, speed=5),
        lambda: CartesiaTTS(KEY, encoding="pcm_f32le"),
        lambda: CartesiaTTS(KEY, sample_rate=11025),
        lambda: CartesiaTTS(KEY, speed=0.5),
        lambda: CartesiaTTS(KEY, speed="very fast"),
        lambda: CartesiaTTS(KEY, volume=2.1),
        lambda: RimeTTS(KEY, speed_alpha=1.1),
        lambda: RimeTTS(KEY, model="mistv2", temperature=0.5),
        lambda: RimeTTS(KEY, sample_rate=1),
        lambda: LMNTTTS(KEY, format="mp3"),
        lambda: LMNTTTS(KEY, sample_rate=44100),
        lambda: LMNTTTS(KEY, top_p=1.5),
        lambda: InworldTTS(KEY, audio_encoding="MP3"),
        lambda: InworldTTS(KEY, sample_rate=1),
        lambda: InworldTTS(KEY, speaking_rate=3),
    ],
)
def test_what_the_vendor_does_not_take_is_a_value_error(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wrong()


def test_what_the_documents_show_works() -> None:
    rime = RimeTTS(KEY, model="mistv2", speed_alpha=1.1, reduce_latency=True)
    body = json.loads(rime._request("Hi.").body)
    assert body["speedAlpha"] == 1.1
    assert body["reduceLatency"] is True
    assert body["speaker"] == "cove"
    assert RimeTTS(KEY).speaker == "astra"
    assert CartesiaTTS.for_twilio(KEY).output_format == MULAW_8K
    assert LMNTTTS(KEY, model="aurora").language == "en"
    assert LMNTTTS(KEY, format="wav", sample_rate=16000).output_format == PCM16_16K


@pytest.mark.parametrize(("name", "voice_id"), VOICES.items())
def test_voices_by_name_in_any_case(name: str, voice_id: str) -> None:
    assert ElevenLabsTTS(KEY, voice=name.upper()).voice_id == voice_id
    assert ElevenLabsTTS(KEY, voice_id=name.title()).voice_id == voice_id


def test_other_voices_are_ids() -> None:
    assert ElevenLabsTTS(KEY, voice="AbCdEf").voice_id == "AbCdEf"
    assert ElevenLabsTTS(KEY, voice="alloy").voice_id == ElevenLabsTTS(KEY).voice_id
    assert "a%2Fb" in ElevenLabsTTS(KEY, voice="a/b")._request("Hi.").url


def test_a_plan_error_names_the_plan_and_is_not_tried_again() -> None:
    error = explained(
        PatterConnectionError("elevenlabs answered 402: payment_required", status=402)
    )
    assert isinstance(error, ElevenLabsTTSError)
    assert "Starter" in str(error)
    assert not error.retryable
    assert str(explained(error)).count("Starter") == 1


# -------------------------------------------------------------------------------------------- dialects

DIALECTS: dict[str, Callable[[], VoiceDialect]] = {
    kind.__name__: lambda kind=kind: kind(KEY)._dialect()  # type: ignore[misc]
    for kind, _, _, _ in ROWS
    if issubclass(kind, SocketTTS)
}
every_dialect = pytest.mark.parametrize("make", DIALECTS.values(), ids=DIALECTS.keys())

_WORDS = [
    "type", "audio", "isFinal", "is_final", "contextId", "context_id", "error", "message", "code", "data", "chunk",
    "done", "status_code", "title", "Flushed", "Cleared", "Error", "Warning", "description", "result",
    "audioContent",
]  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(_WORDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=12,
)


@every_dialect
@given(message=st.binary(max_size=60) | st.text(max_size=60) | _JSON.map(json.dumps))
def test_rubbish_raises_nothing_but_a_wire_error(
    make: Callable[[], VoiceDialect], message: str | bytes
) -> None:
    try:
        news = make().read(message)
    except WireError:
        return
    assert all(isinstance(each, Ready | Sound | Spoken | Failed) for each in news)


@every_dialect
def test_the_key_is_in_no_address_and_no_repr(make: Callable[[], VoiceDialect]) -> None:
    dialect = make()
    assert KEY not in dialect.request().url
    assert KEY not in repr(dialect)


@every_dialect
def test_nobody_else_is_asked_for_while_a_text_is_cancelled(
    make: Callable[[], VoiceDialect],
) -> None:
    dialect = make()
    asked = dialect.begin("7", "Hello.")
    assert any("Hello." in str(message) for message in asked)
    for message in dialect.cancel("7"):
        assert "Hello" not in str(message)


@given(
    parts=st.lists(st.binary(max_size=40) | _JSON.map(lambda v: json.dumps(v).encode()), max_size=4)
)
def test_broken_lines_raise_nothing_but_our_errors(parts: list[bytes]) -> None:
    reader = LineReader(PCM16_16K, KEY)
    try:
        for part in parts:
            assert len(reader.push(part)) % 2 == 0
        assert len(reader.flush()) % 2 == 0
    except PatterError:
        pass


class TestElevenLabs:
    def test_both_spellings_of_a_context(self) -> None:
        dialect = DIALECTS["ElevenLabsTTS"]()
        audio = base64.b64encode(b"ab").decode()
        assert dialect.read(json.dumps({"audio": audio, "contextId": "1"})) == [Sound("1", b"ab")]
        assert dialect.read(json.dumps({"audio": audio, "context_id": "1"})) == [Sound("1", b"ab")]
        assert dialect.read(json.dumps({"isFinal": True, "contextId": "1"})) == [Spoken("1")]
        assert dialect.read(json.dumps({"is_final": True, "contextId": "1"})) == [Spoken("1")]

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ("auth_error", AuthenticationError),
            ("rate_limited", RateLimitError),
            ("quota_exceeded", ElevenLabsTTSError),
        ],
    )
    def test_error_frames_are_typed(self, error: str, kind: type[Exception]) -> None:
        frame = {"message": f"no {KEY}", "error": error, "code": 1008}
        (news,) = DIALECTS["ElevenLabsTTS"]().read(json.dumps(frame))
        assert isinstance(news, Failed)
        assert isinstance(news.error, kind)
        assert KEY not in str(news.error)

    def test_the_first_message_of_a_context_is_a_space(self) -> None:
        settings = {"stability": 0.5}
        tts = ElevenLabsTTS(
            KEY, voice_settings=settings, auto_mode=False, chunk_length_schedule=[50, 120]
        )
        first, *_ = map(json.loads, map(str, tts._dialect().begin("1", "Hi.")))
        assert first["text"] == " "
        assert first["voice_settings"] == settings
        assert first["generation_config"] == {"chunk_length_schedule": [50, 120]}
        assert "auto_mode=false" in tts._dialect().request().url


class TestDeepgram:
    def test_sound_of_a_cancelled_text_is_dropped_until_it_is_cleared(self) -> None:
        dialect = DIALECTS["DeepgramTTS"]()
        dialect.begin("1", "One.")
        assert dialect.read(b"ab") == (Sound("1", b"ab"),)
        dialect.cancel("1")
        assert dialect.read(b"ab") == ()
        assert dialect.read('{"type":"Flushed","sequence_id":0}') == ()
        assert dialect.read('{"type":"Cleared","sequence_id":1}') == (Spoken("1"),)
        dialect.begin("2", "Two.")
        assert dialect.read(b"cd") == (Sound("2", b"cd"),)


class TestTelnyx:
    def test_a_voice_has_a_model_and_some_models_one_rate(self) -> None:
        assert TelnyxTTS(KEY).model == "Telnyx.NaturalHD"
        assert TelnyxTTS(KEY, voice="azure.en-US-Ava").model == "azure"
        kokoro = TelnyxTTS(KEY, voice="Telnyx.KokoroTTS.af_heart")
        assert kokoro.output_format == PCM16_24K
        assert kokoro.with_output((PCM16_16K,)) is None
        with pytest.raises(ValueError, match=r"Provider\.Model\.Voice"):
            TelnyxTTS(KEY, voice="astra")

    @pytest.mark.parametrize("sound", [b"ID3\x04", b"\xff\xf3\x84\xc4", b"\xff\xfb\x90\x00"])
    def test_mp3_is_an_error_and_not_noise_in_somebodys_ear(self, sound: bytes) -> None:
        dialect = DIALECTS["TelnyxTTS"]()
        dialect.begin("1", "Hi.")
        (news,) = dialect.read(json.dumps({"audio": base64.b64encode(sound).decode()}))
        assert isinstance(news, Failed)
        assert news.context == "1"
        assert "MP3" in str(news.error)
        assert not news.error.retryable

    @pytest.mark.parametrize("sound", [bytes(4), b"\xff\xff\xff\xff", b"\xfe\xff\x01\x00"])
    def test_quiet_samples_are_no_mp3(self, sound: bytes) -> None:
        dialect = DIALECTS["TelnyxTTS"]()
        dialect.begin("1", "Hi.")
        audio = base64.b64encode(sound).decode()
        assert dialect.read(json.dumps({"audio": audio})) == [Sound("1", sound)]
        loud = base64.b64encode(b"\xff\xfb\x90\x00").decode()
        assert dialect.read(json.dumps({"audio": loud})) == [Sound("1", b"\xff\xfb\x90\x00")]


class TestCartesia:
    def request(self, **options: Any) -> dict[str, Any]:
        (message,) = CartesiaTTS(KEY, **options)._dialect().begin("1", "Hi.")
        asked: dict[str, Any] = json.loads(str(message))
        return asked

    def test_how_to_speak(self) -> None:
        asked = self.request(speed="fast", volume=1.5, emotion=["happy", "calm"])
        assert asked["generation_config"] == {"speed": 1.2, "volume": 1.5, "emotion": "happy,calm"}
        assert self.request(speed=0.7)["generation_config"] == {"speed": 0.7}
        assert self.request(model="sonic-2", speed="slow")["speed"] == "slow"
        assert "generation_config" not in self.request()
        assert asked["continue"] is False

    @pytest.mark.parametrize(
        ("status", "kind"), [(401, AuthenticationError), (429, RateLimitError), (500, PatterError)]
    )
    def test_errors_of_a_context(self, status: int, kind: type[Exception]) -> None:
        frame = {"type": "error", "context_id": "1", "status_code": status, "title": "No"}
        (news,) = DIALECTS["CartesiaTTS"]().read(msgspec.json.encode(frame))
        assert isinstance(news, Failed)
        assert news.context == "1"
        assert isinstance(news.error, kind)


# ---------------------------------------------------------------------------------------------- pieces


@given(text=st.text(max_size=200), most=st.integers(5, 60))
def test_a_long_text_is_cut_without_losing_a_word(text: str, most: int) -> None:
    pieces = cut(text, most)
    assert all(0 < len(piece) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_it_is_cut_behind_a_sentence() -> None:
    assert cut("One two. Three four. Five", 22) == ["One two. Three four.", "Five"]
    assert cut("one two three four", 9) == ["one two", "three", "four"]


@given(
    data=st.binary(max_size=80).map(lambda b: b"\x01\x02" + b), cuts=st.lists(st.integers(0, 130))
)
def test_a_wav_header_never_reaches_the_ear(data: bytes, cuts: list[int]) -> None:
    whole = data[: len(data) // 2 * 2]
    for sent in (wav_bytes(whole, 16000), whole):
        bare = Bare(PCM16_16K)
        edges = [0, *sorted(min(each, len(sent)) for each in cuts), len(sent)]
        heard = b"".join(bare.push(sent[a:b]) for a, b in pairwise(edges))
        assert heard + bare.flush() == whole


def test_every_voice_is_in_the_table() -> None:
    known: set[type] = {row[0] for row in ROWS}

    def all_below(kind: type[object]) -> set[type[object]]:
        found = {kind}
        for below in kind.__subclasses__():
            found |= all_below(below)
        return found

    made = all_below(SocketTTS) | all_below(HttpTTS)
    assert made - {SocketTTS, HttpTTS} == known


@each
def test_it_has_a_price(kind: type[Any], module: str, variable: str, row: dict[str, Any]) -> None:
    prices = json.loads((Path(getpatter.__file__).parent / "prices.json").read_text())
    if kind is DeepgramTTS or kind is TelnyxTTS:
        assert kind.provider_key not in prices["providers"]  # nobody has named one yet
        return
    assert prices["providers"][kind.provider_key]["kind"] == "tts"
