"""The vendors' own clients that were run against the fakes, and what they did there.

A fake that the vendor's own client takes for the vendor is worth more than one that only our client knows. Versions
are those pinned in `requirements/dev.txt`; a test compares them with what is installed, and looks each test up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One test in which a client talked to a fake."""

    file: str
    """In `tests/`."""
    test: str
    did: str


@dataclass(frozen=True)
class Client:
    """A vendor's own package."""

    package: str
    """Its name in `requirements/dev.txt`."""
    runs: Sequence[Run]


_SPEECH: Final = "e2e/test_speech_vendors_sdk.py"
_MODELS: Final = "e2e/test_llm_official_clients.py"
_LIVE: Final = "e2e/test_engine_gemini_sdk.py"
_CHAT: Final = (
    Run(_MODELS, "test_chat_text", "a streamed answer with its usage"),
    Run(_MODELS, "test_chat_tools", "tool calls in fragments"),
    Run(_MODELS, "test_chat_refusals", "a wrong key, a rate limit"),
)
_BROKEN: Final = Run(_MODELS, "test_chat_failure_inside_the_answer", "a failure inside the stream")

CLIENTS: Final = (
    Client("anthropic", (
        Run(_MODELS, "test_anthropic_text_and_tools", "a streamed answer, tool calls, usage"),
        Run(_MODELS, "test_anthropic_failures", "a wrong key, a rate limit, a failure inside the stream"),
    )),
    Client("assemblyai", (Run(_SPEECH, "test_assemblyai_listens", "a stream: turns, its end and what is charged"),)),
    Client("cartesia", (
        Run(_SPEECH, "test_cartesia_listens", "a stream: words, finalize, done"),
        Run(_SPEECH, "test_cartesia_speaks", "a context over a WebSocket"),
    )),
    Client("cerebras-cloud-sdk", _CHAT),
    Client("deepgram-sdk", (
        Run(_SPEECH, "test_deepgram_listens", "a stream: guesses, finals, keep-alive, finalize, close"),
        Run(_SPEECH, "test_deepgram_flux_listens", "a stream of turns"),
        Run(_SPEECH, "test_deepgram_speaks", "speech over a WebSocket: speak, flush, clear"),
    )),
    Client("elevenlabs", (
        Run(_SPEECH, "test_elevenlabs_speaks_over_http", "streamed speech over HTTP, a voice that the plan lacks"),
        Run(
            "e2e/test_engine_convai_sdk.py",
            "test_the_vendors_client_talks_to_the_fake",
            "an agent's conversation: signed address, audio both ways, transcripts",
        ),
    )),
    Client("google-genai", (
        Run(_MODELS, "test_google_text_and_tools", "a streamed answer, tool calls, usage"),
        Run(_MODELS, "test_google_refusals", "a wrong key, a rate limit"),
        Run(_LIVE, "test_the_vendors_client_talks_to_the_fake", "a Live session over TLS"),
        Run(
            _LIVE,
            "test_the_vendors_client_is_refused_with_a_wrong_key",
            "a Live session that is refused",
        ),
    )),
    Client("groq", (*_CHAT, _BROKEN)),
    Client("openai", (
        *_CHAT,
        _BROKEN,
        Run(_SPEECH, "test_openai_speaks_and_hears", "speech and transcription over HTTP, a wrong key"),
        Run(
            "e2e/test_engine_openai_sdk.py",
            "test_the_vendors_client_talks_to_the_fake",
            "a Realtime session: settings, audio both ways, a function call, truncation, cancelling",
        ),
        Run(
            "e2e/test_engine_openai_sdk.py",
            "test_the_vendors_client_is_refused_with_a_wrong_key",
            "a Realtime session that is refused",
        ),
    )),
    Client("plivo", (
        Run(
            "e2e/test_simulated_plivo.py",
            "test_the_official_client_steers_calls_of_the_fake",
            "placing a call, keys, recording, hanging up, a call that is over",
        ),
        Run(
            "e2e/test_simulated_plivo.py",
            "test_the_official_validator_accepts_the_webhooks_of_the_fake",
            "the signatures of webhooks",
        ),
    )),
    Client("speechmatics-rt", (
        Run(
            _SPEECH,
            "test_speechmatics_listens",
            "a stream: guesses, words, a forced end of utterance",
        ),
    )),
    Client("telnyx", (
        Run(
            "e2e/test_simulated_telnyx.py",
            "test_the_official_client_steers_calls_of_the_fake",
            "placing a call, its status, keys, hanging up, refusals",
        ),
        Run(
            "e2e/test_simulated_telnyx.py",
            "test_the_official_library_accepts_the_webhooks_of_the_fake",
            "the signatures of webhooks",
        ),
    )),
    Client("twilio", (
        Run(
            "e2e/test_simulated_twilio.py",
            "test_the_official_client_gets_along_with_the_fake",
            "a number's settings; placing, fetching, listing and ending a call; refusals",
        ),
        Run(
            "e2e/test_simulated_twilio.py",
            "test_the_official_validator_accepts_the_webhooks_of_the_fake",
            "the signatures of webhooks",
        ),
    )),
)  # fmt: skip


def pins() -> dict[str, str]:
    """Every pinned package and its version."""
    found = _PIN.findall((ROOT / "requirements" / "dev.txt").read_text())
    return {name.lower().replace("_", "-"): version for name, version in found}


def names_of_tests(file: str) -> set[str]:
    """The tests of a file in `tests/`."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {each.name for each in tree.body if isinstance(each, functions)}


def table() -> str:
    """The clients in Markdown."""
    versions = pins()
    lines = ["| Client | Version | What it did with our fake |", "|---|---|---|"]
    for client in CLIENTS:
        did = "; ".join(run.did for run in client.runs)
        lines.append(f"| `{client.package}` | {versions[client.package]} | {did} |")
    return "\n".join(lines)
