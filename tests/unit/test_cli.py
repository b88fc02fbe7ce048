"""The command line: what it takes, what it says, and with which status it ends."""

from __future__ import annotations

import argparse
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from getpatter import __version__, cli
from getpatter.cli import main
from getpatter.cli.doctor import Finding
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError, PatterConnectionError

pytestmark = pytest.mark.timeout(30)  # some start an interpreter


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    """`main` belongs to a process; here it must leave the loggers as it found them."""
    ours = logging.getLogger("getpatter")
    before = list(ours.handlers)
    yield
    ours.handlers = before


def _one_line(text: str) -> str:
    assert text.startswith("getpatter: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"getpatter {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["replay"],
        ["doctor"],
        ["eval"],
        ["eval", "run"],
        ["call"],
        ["mcp"],
        ["telemetry"],
        ["numbers"],
        ["attach-number"],
    ],
)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    told = capsys.readouterr()
    assert "--no-color" in told.out
    assert not told.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "COMMAND"),
        (["dial"], "dial"),
        (["demo", "--loud"], "--loud"),
        (["replay"], "FILE"),
        (["doctor", "--port", "eighty"], "eighty"),
        (["doctor", "--port", "70000"], "70000"),
        (["replay", "there-is-no-such.file"], "there-is-no-such.file"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    told = capsys.readouterr()
    assert says in _one_line(told.err)
    assert not told.out


class _Command:
    """A command that ends in some way."""

    def __init__(self, ends: BaseException | int) -> None:
        self._ends = ends

    def run(self, options: argparse.Namespace) -> int:
        del options
        if isinstance(self._ends, BaseException):
            raise self._ends
        return self._ends


def _with(monkeypatch: pytest.MonkeyPatch, ends: BaseException | int) -> None:
    monkeypatch.setitem(sys.modules, "getpatter.cli.doctor", _Command(ends))
    monkeypatch.setattr(cli, "import_module", lambda name: sys.modules[name])


@pytest.mark.parametrize(
    ("ends", "status", "says"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (PatterConfigError("no such\ncarrier"), 2, "no such carrier"),
        (ValueError("port must be 1 to 65535"), 2, "65535"),
        (ImportError("pip install 'getpatter[offline]'"), 2, "offline"),
        (PatterConnectionError("port 8000 is in use"), 1, "in use"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (KeyError("surprise"), 1, "KeyError: 'surprise' (--debug shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_end_has_its_status(
    ends: BaseException | int,
    status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _with(monkeypatch, ends)
    assert main(["doctor"]) == status
    told = capsys.readouterr()
    if says:
        assert says in _one_line(told.err)
    else:
        assert not told.err


@pytest.mark.parametrize("argv", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_a_traceback_comes_with_debug_only(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _with(monkeypatch, KeyError("surprise"))
    assert main(["doctor"]) == 1
    assert not caplog.records
    assert main(argv) == 1
    (record,) = caplog.records
    assert record.exc_info is not None


def test_what_is_logged_as_an_error_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _with(monkeypatch, 1)
    assert main(["doctor"]) == 1
    assert main(["doctor"]) == 1
    log = logging.getLogger("getpatter.somewhere")
    log.warning("call.odd")
    try:
        raise KeyError("surprise")  # noqa: TRY301 - an error with a traceback
    except KeyError:
        log.exception("call.failed error=%s", "KeyError")
    assert capsys.readouterr().err == "getpatter: call.failed error=KeyError\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end differently there")
def test_a_reader_who_leaves_is_no_accident() -> None:
    """As in `getpatter ... | head -1`."""
    program = (
        "import sys, types\n"
        "from getpatter import cli\n"
        "def run(options):\n"
        "    for _ in range(100_000): print('line')\n"
        "    return 0\n"
        "sys.modules['getpatter.cli.doctor'] = types.SimpleNamespace(run=run)\n"
        "sys.exit(cli.main(['doctor']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == b"line\n"
        run.stdout.close()
        assert not run.stderr.read()
    assert run.returncode == 1


def test_the_module_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "getpatter", "--version"],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert run.stdout == f"getpatter {__version__}\n"


@pytest.mark.parametrize("program", ["import getpatter", "from getpatter.cli import main"])
def test_nothing_that_draws_is_loaded_before_it_is_needed(program: str) -> None:
    program += "; import sys; print(*{'rich', 'numpy', 'starlette', 'pygments'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert run.stdout == "\n"


# ------------------------------------------------------------------------------------------ the screen


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _shown(monkeypatch: pytest.MonkeyPatch, *, no_color: bool = False) -> str:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    screen = Screen(no_color=no_color)
    screen.line("hello [bold]there[/bold]", "green")
    screen.entry("0:01", "agent", "how do you do", "cyan")
    screen.check("it works", is_good=True, detail="well")
    screen.check("it fails", is_good=False, detail="badly")
    screen.table(["what", ">ms"], [["[red]", "12"]])
    return terminal.getvalue()


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in _shown(monkeypatch)


def test_who_wants_no_colour_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = _shown(monkeypatch, no_color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert _shown(monkeypatch) == plain
    assert "\x1b" not in plain
    assert "hello [bold]there[/bold]" in plain, "what is shown is never taken for markup"
    assert "[red]" in plain
    assert "  ok      it works: well" in plain
    assert "  FAILED  it fails: badly" in plain


def test_a_long_line_stays_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    path = "/".join(["folder"] * 60)
    Screen().line(path)
    assert terminal.getvalue() == f"{path}\n"


# ------------------------------------------------------------------------------------------ the doctor


def test_the_doctor_of_an_empty_environment_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [each for each in os.environ if each.endswith(("_KEY", "_TOKEN", "_SID", "_ID"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("WEBHOOK_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHONE_NUMBER", "555-1234")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("getpatter.cli.doctor.find_spec", lambda name: None)
    monkeypatch.setattr("getpatter.cli.doctor._port", lambda port: Finding(f"port {port}", False))
    assert main(["doctor"]) == 1
    told = capsys.readouterr()
    assert told.out.count("FAILED") == 4
    assert "TWILIO_AUTH_TOKEN" in told.out
    assert "getpatter[evals,metrics,offline,scheduling,tracing]" in told.out
    assert "cloudflared" in told.out
    assert "in the way of calls: carrier, phone number, way in, port 8000" in _one_line(told.err)


def test_the_demo_says_which_extra_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("getpatter.cli.demo.find_spec", lambda name: None)
    assert main(["demo", "--keep", str(tmp_path / "kept")]) == 2
    assert "getpatter[offline]" in _one_line(capsys.readouterr().err)
    assert not (tmp_path / "kept").exists()
