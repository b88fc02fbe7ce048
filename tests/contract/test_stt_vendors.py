"""What every recogniser's class promises before anything is opened, and what its dialect does with rubbish."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import getpatter
from getpatter.errors import AuthenticationError, PatterError, RateLimitError, WireError
from getpatter.models import Transcript
from getpatter.stt._buffered import BufferedSTT
from getpatter.stt._socket import Billed, Dialect, Ended, Heard, Ready, SocketSTT
from getpatter.stt.assemblyai import AssemblyAISTT
from getpatter.stt.base import STTProvider
from getpatter.stt.cartesia import CartesiaSTT
from getpatter.stt.deepgram import DeepgramSTT
from getpatter.stt.deepgram_flux import DeepgramFluxSTT
from getpatter.stt.elevenlabs import ElevenLabsSTT
from getpatter.stt.openai_transcribe import OpenAITranscribeSTT
from getpatter.stt.soniox import SonioxSTT
from getpatter.stt.speechmatics import SpeechmaticsSTT, TurnDetectionMode
from getpatter.stt.telnyx import TelnyxSTT
from getpatter.stt.whisper import WhisperSTT, understood
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Encoding

KEY = "key-0123456789abcdef"

ROWS: list[tuple[type[Any], str, str, dict[str, Any]]] = [
    (
        DeepgramSTT,
        "deepgram",
        "DEEPGRAM_API_KEY",
        {
            "language": "en", "model": "nova-3", "encoding": "linear16", "sample_rate": 16000,
            "endpointing_ms": 150, "utterance_end_ms": 1000, "smart_format": False, "interim_results": True,
            "vad_events": True, "keyterms": (),
        },
    ),
    (WhisperSTT, "whisper", "OPENAI_API_KEY",
     {"language": "en", "model": "whisper-1", "response_format": "json"}),
    (OpenAITranscribeSTT, "openai_transcribe", "OPENAI_API_KEY",
     {"language": None, "model": "gpt-4o-transcribe", "response_format": "json"}),
    (CartesiaSTT, "cartesia", "CARTESIA_API_KEY",
     {"language": "en", "model": "ink-whisper", "sample_rate": 16000}),
    (AssemblyAISTT, "assemblyai", "ASSEMBLYAI_API_KEY",
     {"language": "en", "model": "universal-streaming-english", "encoding": "pcm_s16le", "sample_rate": 16000}),
    (
        SonioxSTT,
        "soniox",
        "SONIOX_API_KEY",
        {
            "model": "stt-rt-v4", "language_hints": None, "language_hints_strict": False, "sample_rate": 16000,
            "enable_speaker_diarization": False, "enable_language_identification": True,
            "max_endpoint_delay_ms": 500,
        },
    ),
    (
        SpeechmaticsSTT,
        "speechmatics",
        "SPEECHMATICS_API_KEY",
        {
            "language": "en", "turn_detection_mode": "adaptive", "sample_rate": 16000,
            "enable_diarization": False, "include_partials": True,
        },
    ),
    (DeepgramFluxSTT, "deepgram_flux", "DEEPGRAM_API_KEY",
     {"model": "flux-general-en", "eot_threshold": 0.7, "eager_eot_threshold": None, "eot_timeout_ms": 5000}),
    (TelnyxSTT, "telnyx", "TELNYX_API_KEY",
     {"language": "en", "transcription_engine": "telnyx", "sample_rate": 16000}),
    (ElevenLabsSTT, "elevenlabs", "ELEVENLABS_API_KEY",
     {"language": "en", "model": "scribe_v2_realtime", "sample_rate": 16000,
      "vad_silence_threshold_secs": 0.5, "keyterms": ()}),
]  # fmt: skip

each = pytest.mark.parametrize(
    ("kind", "module", "variable", "row"), ROWS, ids=[row[1] for row in ROWS]
)


@each
def test_the_two_names_are_one_class(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    assert vars(inspect.getmodule(kind))["STT"] is kind
    assert getattr(getpatter, kind.__name__) is kind
    assert kind.__module__ == f"getpatter.stt.{module}"


@each
def test_documented_parameters_and_defaults(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    parameters = inspect.signature(kind).parameters
    assert next(iter(parameters)) == "api_key"
    assert parameters["api_key"].default is None
    for name, default in row.items():
        assert parameters[name].default == default
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert isinstance(kind(KEY, **row), STTProvider)


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
    assert isinstance(kind(), STTProvider)


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
    made = kind(KEY, **row)
    assert KEY not in repr(made)
    assert KEY.encode() not in pickle.dumps(made)
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=variable):
        pickle.loads(pickle.dumps(made))
    monkeypatch.setenv(variable, "another-key-9876543210")
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)


@each
def test_a_clone_is_configured_the_same_and_has_its_own_state(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    made = kind(KEY, **row)
    twin = made.clone()
    assert repr(twin) == repr(made)
    assert type(twin) is kind
    assert twin is not made


@each
def test_on_a_phone_it_takes_the_phones_format_unless_another_was_named(
    kind: type[Any], module: str, variable: str, row: dict[str, Any]
) -> None:
    chosen = kind(KEY).with_input((MULAW_8K,))
    assert chosen is not None
    assert chosen.input_formats == (MULAW_8K,)
    assert kind(KEY).input_formats == (PCM16_16K,)
    if "sample_rate" in row:
        named = kind(KEY, sample_rate=16000)
        assert named.with_input((MULAW_8K,)) is None
        assert named.with_input((MULAW_8K, PCM16_16K)).input_formats == (PCM16_16K,)


@pytest.mark.parametrize("kind", [DeepgramSTT, WhisperSTT, AssemblyAISTT, SonioxSTT, ElevenLabsSTT])
def test_made_for_a_carrier_it_takes_that_carriers_format(kind: type[Any]) -> None:
    made = kind.for_twilio(KEY)
    assert made.input_formats == (MULAW_8K,)
    assert made.with_input((PCM16_16K,)) is None
    with pytest.raises(TypeError):
        kind.for_twilio(KEY, no_such_option=1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DeepgramSTT(KEY, encoding="opus"),
        lambda: DeepgramSTT(KEY, sample_rate=12345),
        lambda: DeepgramSTT(KEY, utterance_end_ms=999),
        lambda: DeepgramSTT(KEY, endpointing_ms=-1),
        lambda: WhisperSTT(KEY, response_format="srt"),
        lambda: WhisperSTT(KEY, model="gpt-4o-transcribe", response_format="verbose_json"),
        lambda: OpenAITranscribeSTT(KEY, response_format="verbose_json"),
        lambda: CartesiaSTT(KEY, sample_rate=22050),
        lambda: AssemblyAISTT(KEY, encoding="opus"),
        lambda: AssemblyAISTT(KEY, sample_rate=1),
        lambda: SonioxSTT(KEY, sample_rate=1),
        lambda: SonioxSTT(KEY, max_endpoint_delay_ms=499),
        lambda: SpeechmaticsSTT(KEY, turn_detection_mode="whenever"),
        lambda: SpeechmaticsSTT(KEY, sample_rate=1),
        lambda: DeepgramFluxSTT(KEY, eot_threshold=0.4),
        lambda: DeepgramFluxSTT(KEY, eager_eot_threshold=0.8),
        lambda: DeepgramFluxSTT(KEY, eot_timeout_ms=100),
    ],
)
def test_what_the_vendor_does_not_take_is_a_value_error(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\d|one of|verbose_json|negative"):
        wrong()


def test_what_the_documents_show_works() -> None:
    assert OpenAITranscribeSTT(KEY, response_format="json").model == "gpt-4o-transcribe"
    assert DeepgramSTT(KEY, utterance_end_ms=None).model == "nova-3"
    enum = SpeechmaticsSTT(KEY, turn_detection_mode=TurnDetectionMode.FIXED)
    assert repr(enum) == repr(SpeechmaticsSTT(KEY, turn_detection_mode="fixed"))
    assert WhisperSTT(KEY, model="a-model-of-tomorrow").model == "a-model-of-tomorrow"
    assert AssemblyAISTT(KEY, language="es").model == "universal-streaming-multilingual"


# -------------------------------------------------------------------------------------------- dialects

DIALECTS: dict[str, Callable[[], Dialect]] = {
    kind.__name__: lambda kind=kind: kind(KEY)._dialect()
    for kind, _, _, _ in ROWS
    if issubclass(kind, SocketSTT)
} | {"CartesiaTurns": lambda: CartesiaSTT(KEY, model="ink-2")._dialect()}
every_dialect = pytest.mark.parametrize("make", DIALECTS.values(), ids=DIALECTS.keys())

_WORDS = [
    "type", "message", "event", "tokens", "transcript", "words", "channel", "alternatives", "metadata", "results",
    "is_final", "speech_final", "text", "Results", "Turn", "TurnInfo", "EndOfTurn", "AddTranscript",
    "AddPartialTranscript", "EndOfUtterance", "Metadata", "UtteranceEnd", "turn.end", "turn.update", "error",
    "Error", "error_code", "error_message", "finished", "start", "end", "start_ms", "<end>", "<fin>",
]  # fmt: skip
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(_WORDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=12,
)


@every_dialect
@given(message=st.binary(max_size=60) | st.text(max_size=60) | _JSON.map(json.dumps))
def test_rubbish_raises_nothing_but_a_wire_error(
    make: Callable[[], Dialect], message: str | bytes
) -> None:
    dialect = make()
    try:
        heard = dialect.read(message)
    except WireError:
        return
    assert all(
        isinstance(each, Transcript | Ready | Billed | Ended | PatterError) for each in heard
    )


@every_dialect
def test_the_key_is_in_no_address_and_no_repr(make: Callable[[], Dialect]) -> None:
    dialect = make()
    assert KEY not in dialect.request().url
    assert KEY not in repr(dialect)
    assert KEY not in repr(dialect.request())


@every_dialect
def test_equal_dialects_may_share_a_socket(make: Callable[[], Dialect]) -> None:
    assert make().request().key == make().request().key


@given(body=st.binary(max_size=60) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_a_broken_answer_raises_nothing_but_a_wire_error(body: bytes) -> None:
    for response_format in ("json", "text", "verbose_json"):
        with suppress(WireError):
            assert isinstance(understood(body, response_format).text, str)


# --------------------------------------------------------------------------- recorded frames, by vendor


def read(dialect: Dialect, *frames: object) -> list[Heard]:
    return [heard for frame in frames for heard in dialect.read(msgspec.json.encode(frame))]


def said(heard: Sequence[Heard]) -> list[tuple[str, bool, bool]]:
    return [
        (each.text, each.is_final, each.speech_final)
        for each in heard
        if isinstance(each, Transcript)
    ]


def results(text: str, *, is_final: bool, speech_final: bool = False) -> dict[str, object]:
    """As in the vendor's documentation."""
    return {
        "type": "Results", "channel_index": [0, 1], "start": 1.0, "duration": 0.98, "is_final": is_final,
        "speech_final": speech_final, "from_finalize": False,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.99, "words": []}]},
        "metadata": {"request_id": "r", "model_info": {}, "model_uuid": "m"},
    }  # fmt: skip


class TestDeepgram:
    def test_an_utterance_end_ends_a_turn_that_noise_kept_open(self) -> None:
        dialect = DIALECTS["DeepgramSTT"]()
        heard = read(
            dialect,
            results("hello there", is_final=True),
            {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 3.1},
        )
        assert said(heard) == [("hello there", True, False), ("", True, True)]

    def test_an_utterance_end_after_the_end_of_the_turn_says_nothing(self) -> None:
        dialect = DIALECTS["DeepgramSTT"]()
        ended = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 3.1}
        heard = read(dialect, results("hello", is_final=True, speech_final=True), ended, ended)
        assert said(heard) == [("hello", True, True)]

    def test_an_empty_end_of_speech_still_ends_the_turn(self) -> None:
        dialect = DIALECTS["DeepgramSTT"]()
        heard = read(
            dialect,
            results("hello", is_final=True),
            results("", is_final=True, speech_final=True),
            results("", is_final=False),
        )
        assert said(heard) == [("hello", True, False), ("", True, True)]

    def test_a_span_without_words_has_the_times_of_the_span(self) -> None:
        (heard,) = read(DIALECTS["DeepgramSTT"](), results("hi", is_final=True))
        assert isinstance(heard, Transcript)
        assert (heard.start_ms, heard.end_ms) == (1000, 1980)

    def test_options_are_in_the_address(self) -> None:
        stt = DeepgramSTT(KEY, keyterms=["Acme", "two words"], endpointing_ms=0)
        url = stt._dialect().request().url
        for part in (
            "model=nova-3", "encoding=linear16", "sample_rate=16000", "interim_results=true",
            "keyterm=Acme&keyterm=two+words", "endpointing=false", "utterance_end_ms=1000",
        ):  # fmt: skip
            assert part in url
        assert (
            "utterance_end" not in DeepgramSTT(KEY, utterance_end_ms=None)._dialect().request().url
        )


class TestSoniox:
    def test_control_tokens_never_reach_the_text(self) -> None:
        dialect = DIALECTS["SonioxSTT"]()
        token = {"is_final": True, "confidence": 0.9}
        heard = read(
            dialect,
            {"tokens": [{"text": "Hel", **token}, {"text": "lo", "is_final": False}]},
            {"tokens": [{"text": "lo", **token}, {"text": "<fin>", **token}]},
            {"tokens": [{"text": " you", **token}, {"text": "<end>", **token}]},
        )
        assert said(heard) == [("Hello", False, False), ("Hello", True, False), ("you", True, True)]

    @pytest.mark.parametrize(
        ("code", "kind"), [(401, AuthenticationError), (429, RateLimitError), (503, PatterError)]
    )
    def test_an_error_message_is_typed(self, code: int, kind: type[Exception]) -> None:
        frame = {"tokens": [], "error_code": code, "error_message": f"bad {KEY}"}
        (error,) = read(DIALECTS["SonioxSTT"](), frame)
        assert isinstance(error, kind)
        assert KEY not in str(error)


class TestAssemblyAI:
    def test_a_turn_that_is_sent_again_formatted_is_heard_once(self) -> None:
        turn = {"type": "Turn", "turn_order": 0, "end_of_turn": True, "words": []}
        heard = read(
            DIALECTS["AssemblyAISTT"](),
            {**turn, "turn_is_formatted": False, "transcript": "my name is bob"},
            {**turn, "turn_is_formatted": True, "transcript": "My name is Bob."},
            {**turn, "turn_order": 1, "transcript": "yes"},
        )
        assert said(heard) == [("my name is bob", True, True), ("yes", True, True)]

    def test_a_guess_has_the_words_that_may_still_change(self) -> None:
        frame = {
            "type": "Turn", "turn_order": 0, "end_of_turn": False, "transcript": "my name",
            "words": [
                {"text": "my", "start": 400, "end": 560, "confidence": 0.9, "word_is_final": True},
                {"text": "name", "start": 600, "end": 700, "confidence": 0.9, "word_is_final": True},
                {"text": "is", "start": 900, "end": 980, "confidence": 0.6, "word_is_final": False},
            ],
        }  # fmt: skip
        assert said(read(DIALECTS["AssemblyAISTT"](), frame)) == [("my name is", False, False)]


class TestSpeechmatics:
    def final(self, text: str) -> dict[str, object]:
        return {"message": "AddTranscript", "metadata": {"transcript": text}, "results": []}

    def test_pieces_are_put_together(self) -> None:
        heard = read(
            DIALECTS["SpeechmaticsSTT"](),
            self.final("I have"), self.final(" time"), self.final("."),
            {"message": "EndOfUtterance", "metadata": {}},
        )  # fmt: skip
        assert said(heard)[-1] == ("I have time.", True, True)
        assert [each for each in said(heard) if each[1]] == [("I have time.", True, True)]

    def test_a_pause_in_mid_sentence_does_not_end_the_turn(self) -> None:
        end = {"message": "EndOfUtterance", "metadata": {}}
        heard = read(DIALECTS["SpeechmaticsSTT"](), self.final("I have"), end)
        assert said(heard)[-1] == ("I have", True, False)
        fixed = SpeechmaticsSTT(KEY, turn_detection_mode="fixed")._dialect()
        assert said(read(fixed, self.final("I have"), end))[-1] == ("I have", True, True)

    @pytest.mark.parametrize(
        ("type_", "kind", "retryable"),
        [
            ("not_authorised", AuthenticationError, False),
            ("quota_exceeded", RateLimitError, True),
            ("invalid_model", PatterError, False),
            ("job_error", PatterError, True),
        ],
    )
    def test_errors_are_typed(self, type_: str, kind: type[Exception], retryable: bool) -> None:
        frame = {"message": "Error", "type": type_, "reason": f"because {KEY}"}
        (error,) = read(DIALECTS["SpeechmaticsSTT"](), frame)
        assert isinstance(error, PatterError)
        assert isinstance(error, kind)
        assert error.retryable is retryable
        assert KEY not in str(error)


class TestFlux:
    def test_turns(self) -> None:
        def info(event: str, transcript: str) -> dict[str, object]:
            return {"type": "TurnInfo", "event": event, "transcript": transcript, "words": []}

        heard = read(
            DIALECTS["DeepgramFluxSTT"](),
            {"type": "Connected", "request_id": "r", "sequence_id": 0},
            info("StartOfTurn", "I'd"),
            info("EagerEndOfTurn", "I'd like"),
            info("TurnResumed", "I'd like"),
            info("EndOfTurn", "I'd like a table"),
        )
        assert said(heard) == [
            ("I'd", False, False), ("I'd like", False, False), ("I'd like a table", True, True),
        ]  # fmt: skip


def test_every_recogniser_is_in_the_table() -> None:
    known: set[type] = {row[0] for row in ROWS}

    def leaves(kind: type[object]) -> set[type[object]]:
        found: set[type[object]] = set()
        for below in kind.__subclasses__():
            found |= leaves(below)
        return found or {kind}

    assert leaves(SocketSTT) | leaves(BufferedSTT) == known


def test_formats_are_told_apart() -> None:
    assert DeepgramSTT(KEY).with_input((AudioFormat(Encoding.PCM16, 11025),)) is None


@each
def test_it_has_a_price(kind: type[Any], module: str, variable: str, row: dict[str, Any]) -> None:
    prices = json.loads((Path(getpatter.__file__).parent / "prices.json").read_text())
    if kind is TelnyxSTT or kind is ElevenLabsSTT:
        assert kind.provider_key not in prices["providers"]  # nobody has named one yet
        return
    assert prices["providers"][kind.provider_key]["kind"] == "stt"
