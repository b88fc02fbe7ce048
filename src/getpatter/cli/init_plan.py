"""What `getpatter init` writes: a project of six files, made of the answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from getpatter import __version__

Kind = Literal["stt", "llm", "tts", "engine"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A vendor that a project can be made with."""

    made_by: str
    """Name of the class."""
    variables: tuple[str, ...]
    """What it needs of the environment."""


CARRIERS: Final[Mapping[str, Choice]] = {
    "twilio": Choice("Twilio", ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN")),
    "telnyx": Choice("Telnyx", ("TELNYX_API_KEY", "TELNYX_CONNECTION_ID", "TELNYX_PUBLIC_KEY")),
    "plivo": Choice("Plivo", ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN")),
}
SERVICES: Final[Mapping[Kind, Mapping[str, Choice]]] = {
    "stt": {
        "deepgram": Choice("DeepgramSTT", ("DEEPGRAM_API_KEY",)),
        "assemblyai": Choice("AssemblyAISTT", ("ASSEMBLYAI_API_KEY",)),
        "cartesia": Choice("CartesiaSTT", ("CARTESIA_API_KEY",)),
        "elevenlabs": Choice("ElevenLabsSTT", ("ELEVENLABS_API_KEY",)),
        "openai": Choice("OpenAITranscribeSTT", ("OPENAI_API_KEY",)),
        "soniox": Choice("SonioxSTT", ("SONIOX_API_KEY",)),
        "speechmatics": Choice("SpeechmaticsSTT", ("SPEECHMATICS_API_KEY",)),
    },
    "llm": {
        "openai": Choice("OpenAILLM", ("OPENAI_API_KEY",)),
        "anthropic": Choice("AnthropicLLM", ("ANTHROPIC_API_KEY",)),
        "cerebras": Choice("CerebrasLLM", ("CEREBRAS_API_KEY",)),
        "google": Choice("GoogleLLM", ("GEMINI_API_KEY",)),
        "groq": Choice("GroqLLM", ("GROQ_API_KEY",)),
    },
    "tts": {
        "elevenlabs": Choice("ElevenLabsTTS", ("ELEVENLABS_API_KEY",)),
        "cartesia": Choice("CartesiaTTS", ("CARTESIA_API_KEY",)),
        "deepgram": Choice("DeepgramTTS", ("DEEPGRAM_API_KEY",)),
        "inworld": Choice("InworldTTS", ("INWORLD_API_KEY",)),
        "lmnt": Choice("LMNTTTS", ("LMNT_API_KEY",)),
        "openai": Choice("OpenAITTS", ("OPENAI_API_KEY",)),
        "rime": Choice("RimeTTS", ("RIME_API_KEY",)),
    },
    "engine": {
        "openai": Choice("OpenAIRealtime", ("OPENAI_API_KEY",)),
        "elevenlabs": Choice("ElevenLabsConvAI", ("ELEVENLABS_API_KEY", "ELEVENLABS_AGENT_ID")),
        "google": Choice("GeminiLive", ("GEMINI_API_KEY",)),
        "ultravox": Choice("UltravoxRealtime", ("ULTRAVOX_API_KEY",)),
    },
}
"""The first of each kind is what is used where nothing is answered."""
MODES: Final[Mapping[str, tuple[Kind, ...]]] = {
    "pipeline": ("stt", "llm", "tts"),
    "engine": ("engine",),
}
_OPEN: Final = frozenset({"TWILIO_ACCOUNT_SID", "TELNYX_CONNECTION_ID", "PLIVO_AUTH_ID"})
_NO_SECRETS: Final = _OPEN | {
    "TELNYX_PUBLIC_KEY",
    "ELEVENLABS_AGENT_ID",
    "PHONE_NUMBER",
    "WEBHOOK_URL",
}
_PLAIN: Final = re.compile(r"[\w.+=/:@-]*", re.ASCII)

_WHAT: Final = {
    "PHONE_NUMBER": ": your number at the carrier, such as `+15550001234`",
    "WEBHOOK_URL": ": public host name of this machine; empty: a tunnel is opened, by the program `cloudflared`",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The answers."""

    name: str
    carrier: str
    services: Mapping[Kind, str]
    """Vendor of each kind."""

    @property
    def choices(self) -> dict[Kind, Choice]:
        """The classes to be used."""
        return {kind: SERVICES[kind][vendor] for kind, vendor in self.services.items()}

    @property
    def variables(self) -> list[str]:
        """Everything that the environment must say, and `WEBHOOK_URL`, which it may."""
        needed = [*CARRIERS[self.carrier].variables, "PHONE_NUMBER", "WEBHOOK_URL"]
        for choice in self.choices.values():
            needed += (each for each in choice.variables if each not in needed)
        return needed


def is_secret(variable: str) -> bool:
    """Whether its value must not be shown."""
    return variable not in _NO_SECRETS


def files(plan: Plan, values: Mapping[str, str]) -> dict[str, str]:
    """The files by name. `values`: what is known of the variables."""
    return {
        "main.py": _main(plan),
        "requirements.txt": f"getpatter>={__version__}\npython-dotenv>=1.0\n",
        ".env": _settings(plan.variables, values),
        ".env.example": _settings(plan.variables, {}),
        ".gitignore": ".env\n.venv/\n__pycache__/\n",
        "README.md": _readme(plan),
    }


def _main(plan: Plan) -> str:
    carrier = CARRIERS[plan.carrier].made_by
    made = {kind: choice.made_by for kind, choice in plan.choices.items()}
    names = sorted({"Agent", "Patter", carrier, *made.values()}, key=_import_order)
    parts = "".join(f"        {kind}={name}(),\n" for kind, name in made.items())
    return f'''"""{plan.name}: an agent with a phone number."""

import asyncio
import os

from dotenv import load_dotenv
from getpatter import {", ".join(names)}

load_dotenv()


def agent() -> Agent:
    """Who answers the phone."""
    return Patter().agent(
        system_prompt="You are a friendly assistant on the phone. Answer in one or two sentences.",
        first_message="Hello, how can I help?",
{parts}    )


async def main() -> None:
    webhook_url = os.environ.get("WEBHOOK_URL", "")
    phone = Patter(
        carrier={carrier}(), phone_number=os.environ["PHONE_NUMBER"], webhook_url=webhook_url
    )
    await phone.serve(agent(), tunnel=not webhook_url)


if __name__ == "__main__":
    asyncio.run(main())
'''


def _import_order(name: str) -> tuple[bool, str]:
    return (not name.isupper(), name)


def _settings(variables: Sequence[str], values: Mapping[str, str]) -> str:
    return "".join(f"{name}={quoted(values.get(name, ''))}\n" for name in variables)


def quoted(value: str) -> str:
    """A value as `.env` files write it.

    Raises:
        ValueError: it has control characters, which no key has.
    """
    if not value.isprintable():
        raise ValueError("a value must be one line of printable characters")
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _readme(plan: Plan) -> str:
    needed = "\n".join(f"- `{name}`{_WHAT.get(name, '')}" for name in plan.variables)
    return f"""# {plan.name}

An agent with a phone number, made with getpatter.

```sh
pip install -r requirements.txt
getpatter doctor                            # is everything there?
getpatter call --simulated main:agent       # talk to it in the terminal
python main.py                              # answer calls
```

`.env` has the settings; keep it to yourself. `.env.example` lists them:

{needed}
"""
