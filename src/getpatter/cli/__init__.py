"""The `getpatter` command, also called `patter`; `python -m getpatter` is the same.

Exit status: 0 success, 1 the run found failures, 2 wrong usage or configuration, 130 interrupted. An error is
one line on stderr; its traceback comes with `--debug` only. Each command loads what it needs when it is run.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn, TextIO

from getpatter import __version__
from getpatter.cli import arguments
from getpatter.cli.arguments import Commands
from getpatter.errors import PatterConfigError, PatterError

__all__ = ["main"]

logger = logging.getLogger(__name__)

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process, unless given); returns the exit status. Never raises."""
    for stream in (sys.stdout, sys.stderr):
        _survive_any_text(stream)
    is_debugging = False
    try:
        options = _parser().parse_args(argv)
        is_debugging = options.debug
        _set_up_logging(is_debugging=is_debugging)
        command = import_module(f"getpatter.cli.{options.command.replace('-', '_')}")
        status: int = command.run(options)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse: --help, --version, wrong usage
        return stop.code if isinstance(stop.code, int) else MISUSED
    except KeyboardInterrupt:
        print("getpatter: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `getpatter ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - the top of the program
        return _failed(error, is_debugging=is_debugging)
    return status


def _failed(error: Exception, *, is_debugging: bool) -> int:
    if is_debugging:
        logger.error("cli.failed error=%s", type(error).__name__, exc_info=error)
    is_misuse = isinstance(error, (PatterConfigError, ValueError, ImportError))
    text = " ".join(str(error).split()) or type(error).__name__
    if not is_misuse and not isinstance(error, (PatterError, OSError)):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    print(f"getpatter: {text}", file=sys.stderr)
    return MISUSED if is_misuse else FAILED


def _survive_any_text(stream: TextIO) -> None:
    """A terminal that cannot show a letter shows `?` instead of ending the command."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _set_up_logging(*, is_debugging: bool) -> None:
    if is_debugging:
        form = "%(asctime)s %(levelname)s %(name)s %(message)s"
        logging.basicConfig(level=logging.DEBUG, format=form, stream=sys.stderr)
        logging.getLogger("asyncio").setLevel(logging.INFO)
        logging.getLogger("httpcore").setLevel(logging.INFO)
        return
    errors = logging.StreamHandler(sys.stderr)
    errors.setLevel(logging.ERROR)
    errors.setFormatter(_OneLine("getpatter: %(message)s"))
    ours = logging.getLogger("getpatter")
    ours.handlers = [each for each in ours.handlers if not isinstance(each.formatter, _OneLine)]
    ours.addHandler(errors)


class _OneLine(logging.Formatter):
    """What a person must look at, without its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return self.formatMessage(self._with_message(record))

    @staticmethod
    def _with_message(record: logging.LogRecord) -> logging.LogRecord:
        record.message = " ".join(record.getMessage().split())
        return record


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"getpatter: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="getpatter", description="An AI agent with a phone number.")
    parser.add_argument("--version", action="version", version=f"getpatter {__version__}")
    _add_common(parser, default=False)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    _add_demo(commands)
    _add_replay(commands)
    for add in arguments.ALL:
        add(commands, _new_command)
    return parser


def _new_command(commands: Commands, name: str, *, does: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
    _add_common(parser, default=argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, default: bool | str) -> None:
    """Options that may stand before and after the command."""
    parser.add_argument(
        "--debug", action="store_true", default=default, help="log everything, show tracebacks"
    )
    parser.add_argument(
        "--no-color",
        action="store_true",
        default=default,
        help="plain text, as without a terminal or with NO_COLOR set",
    )


def _add_demo(commands: Commands) -> None:
    parser = _new_command(
        commands,
        "demo",
        does="hold a whole phone call on this machine: no account, no key, no phone",
    )
    parser.add_argument("--wav", type=Path, metavar="FILE", help="ring with this recording instead")
    parser.add_argument("--fast", action="store_true", help="virtual time: do not wait for speech")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where the recordings go (default: a new folder)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.wav", help="where the stereo recording of the call goes"
    )


def _add_replay(commands: Commands) -> None:
    parser = _new_command(
        commands, "replay", does="run a flight recording again and compare what is sent"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a *.flight.jsonl")
