"""What the commands take. Kept apart from the commands, which are loaded only when they are run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

AGENT_FORMS: Final = "an Agent, a function that returns one, or an object with async reply(text)"


class Commands(Protocol):
    """What argparse gives for adding commands; it has no public name for it."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:  # noqa: A002 - theirs
        """Add one."""
        ...


class NewCommand(Protocol):
    """Adds a command with the options that all have."""

    def __call__(self, commands: Commands, name: str, *, does: str) -> argparse.ArgumentParser:
        """Add the command `name`, which `does` that."""
        ...


def _add_eval(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "eval", does="try an agent with the cases of a suite")
    verbs = parser.add_subparsers(dest="verb", metavar="run", required=True)
    run = new(verbs, "run", does="run a suite; the report is JSON")
    run.add_argument("suite", type=Path, metavar="SUITE", help="a .yaml or .json file")
    run.add_argument(
        "--agent", metavar="MODULE:ATTR", help=f"{AGENT_FORMS}; the current folder is importable"
    )
    run.add_argument("--judge-model", default="", metavar="M", help="default: gpt-4o-mini")
    run.add_argument(
        "--pass-threshold", type=float, default=0.7, metavar="N", help="0 to 1, default: 0.7"
    )
    run.add_argument(
        "--output", type=Path, metavar="FILE", help="where the report goes, instead of stdout"
    )


def _add_call(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "call", does="talk to an agent in the terminal, without a phone")
    parser.add_argument(
        "--simulated",
        action="store_true",
        required=True,
        help="no carrier is asked, nobody is rung",
    )
    parser.add_argument(
        "agent",
        nargs="?",
        default="",
        metavar="MODULE:ATTR",
        help=f"{AGENT_FORMS}; default: a demo",
    )


def _add_init(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "init", does="begin a project; asks what is not said here")
    parser.add_argument(
        "--name", default="", metavar="N", help="folder to make; default: the current one"
    )
    parser.add_argument("--mode", choices=("pipeline", "engine"), default="")
    parser.add_argument("--carrier", choices=("twilio", "telnyx", "plivo"), default="")
    for kind, what in (
        ("stt", "recogniser"),
        ("llm", "model"),
        ("tts", "voice"),
        ("engine", "speech-to-speech engine"),
    ):
        parser.add_argument(
            f"--{kind}", default="", metavar="VENDOR", help=f"{what}; default: the first asked for"
        )
    parser.add_argument("--phone-number", default="", metavar="NUMBER", help="E.164")
    parser.add_argument("--webhook-url", default="", metavar="HOST", help="else a tunnel is used")
    parser.add_argument(
        "--keys-from-environment",
        action="store_true",
        help="write into .env what the environment has; keys are no options, as others can read those",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")


def _add_mcp(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "mcp", does="give another agent a telephone: an MCP server on stdio")
    parser.add_argument(
        "tool",
        metavar="MODULE:ATTR",
        help="a PatterTool, or a Patter; the current folder is importable",
    )
    parser.add_argument("--port", type=int, default=8000, help="port that calls come in on")


def _add_numbers(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "numbers", does="list the numbers of your carrier, and where they ring")
    _add_carrier(parser)


def _add_attach_number(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "attach-number", does="let calls to a number ring at a server")
    parser.add_argument("number", metavar="NUMBER", help="E.164, such as +15550001234")
    parser.add_argument(
        "--url",
        required=True,
        metavar="HOST",
        help="host name of a server of ours, or a whole URL of another",
    )
    _add_carrier(parser)


def _add_carrier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--carrier",
        choices=("twilio", "telnyx", "plivo"),
        default="",
        help="default: every one whose credentials are set",
    )


def _add_telemetry(commands: Commands, new: NewCommand) -> None:
    new(commands, "telemetry", does="say what is reported about you: nothing")


def _add_doctor(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "doctor", does="look for what would keep calls from working")
    parser.add_argument("--port", type=int, default=8000, help="port that serve() shall use")
    parser.add_argument(
        "--offline", action="store_true", help="ask nobody whether credentials are accepted"
    )


def _add_dashboard(commands: Commands, new: NewCommand) -> None:
    parser = new(commands, "dashboard", does="show the calls of every serve() of this machine")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--token", default="", help="password; any other --host needs one")
    parser.add_argument(
        "--root", metavar="DIR", help="persisted calls to begin with (default: PATTER_LOG_DIR)"
    )


Add = Callable[[Commands, NewCommand], None]
ALL: Final[tuple[Add, ...]] = (
    _add_eval,
    _add_call,
    _add_init,
    _add_mcp,
    _add_numbers,
    _add_attach_number,
    _add_doctor,
    _add_dashboard,
    _add_telemetry,
)
