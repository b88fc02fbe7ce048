"""`getpatter init`, as a process: without a terminal, and asked in one."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cli_kit import getpatter, settings_but_ours

FILES: Final = {"main.py", "requirements.txt", ".env", ".env.example", ".gitignore", "README.md"}
SECRET: Final = "sk-nobody-may-see-this"

unix: Final = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_project_without_a_terminal(tmp_path: Path) -> None:
    ended = await getpatter(
        "init", "--name", "shop", "--mode", "engine", "--engine", "openai", "--carrier", "telnyx",
        "--phone-number", "+15550001234", "--webhook-url", "calls.example", "--keys-from-environment",
        folder=tmp_path, settings={"OPENAI_API_KEY": SECRET},
    )  # fmt: skip
    assert (ended.status, ended.err) == (0, ""), ended
    assert SECRET not in ended.out
    made = contents(tmp_path / "shop")
    assert set(made) == FILES
    assert "OpenAIRealtime()" in made["main.py"]
    assert "Telnyx()" in made["main.py"]
    assert [name for name, text in made.items() if SECRET in text] == [".env"]
    assert "WEBHOOK_URL=calls.example" in made[".env"]
    assert "TELNYX_API_KEY" in ended.out
    if sys.platform != "win32":
        assert mode(tmp_path / "shop" / ".env") == 0o600


async def test_what_is_there_is_not_touched_without_force(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")
    (tmp_path / ".env").chmod(0o644)
    (tmp_path / "main.py").symlink_to(tmp_path / "elsewhere.py")
    refused = await getpatter("init", folder=tmp_path)
    assert "main.py, .env exist; --force" in refused.problem(2)
    assert contents(tmp_path) == {".env": "MINE=1\n"}
    forced = await getpatter("init", "--force", folder=tmp_path)
    assert (forced.status, forced.err) == (0, ""), forced
    made = contents(tmp_path)
    assert set(made) == FILES, "nothing is left beside them, and nothing was written through a link"
    assert "MINE" not in made[".env"]
    assert "DeepgramSTT()" in made["main.py"]
    assert mode(tmp_path / ".env") == 0o600


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--name", "../up"), "--name"),
        (("--mode", "loud"), "loud"),
        (("--stt", "ear"), "--stt is one of deepgram"),
        (("--mode", "engine", "--stt", "deepgram"), "--stt has no meaning"),
        (("--phone-number", "555"), "E.164"),
    ],
)
async def test_wrong_answers_write_nothing(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    ended = await getpatter("init", *arguments, folder=tmp_path)
    assert says in ended.problem(2)
    assert not contents(tmp_path)


class Terminal:
    """A process with a terminal, and somebody who reads it and types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = ""

    async def start(self) -> None:
        self.master, slave = os.openpty()
        os.set_blocking(self.master, False)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "getpatter", "init",
            cwd=self.folder, env=settings_but_ours(), stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    async def until(self, text: str) -> None:
        """Read until `text` is shown."""
        while text not in self.shown:
            await asyncio.sleep(0.01)
            self._read()
            assert self.process.returncode is None, self.shown

    def _read(self) -> None:
        try:
            self.shown += os.read(self.master, 65536).decode()
        except OSError:  # nothing there now, or nobody there any more
            return

    async def answer(self, question: str, answer: str) -> None:
        """Wait for a question, and type."""
        await self.until(question)
        os.write(self.master, f"{answer}\n".encode())

    async def status(self) -> int:
        """Wait for the end."""
        status = await self.process.wait()
        self._read()
        os.close(self.master)
        return status


@unix
async def test_a_project_asked_for_in_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    await terminal.start()
    await terminal.answer("mode (pipeline, engine) [pipeline]:", "")
    await terminal.answer("carrier (twilio, telnyx, plivo) [twilio]:", "pigeon")
    await terminal.until("there is no 'pigeon'")
    await terminal.answer("'pigeon'\r\ncarrier (twilio, telnyx, plivo) [twilio]:", "plivo")
    await terminal.answer("stt (", "soniox")
    await terminal.answer("llm (", "openai")
    await terminal.answer("tts (", "openai")
    await terminal.answer("PLIVO_AUTH_ID []:", "MA123")
    await terminal.answer("PLIVO_AUTH_TOKEN (not shown)", "")
    await terminal.answer("PHONE_NUMBER []:", "+15550001234")
    await terminal.answer("WEBHOOK_URL []:", "")
    await terminal.answer("SONIOX_API_KEY (not shown)", "")
    await terminal.answer("OPENAI_API_KEY (not shown)", SECRET)
    assert await terminal.status() == 0, terminal.shown
    assert SECRET not in terminal.shown
    made = contents(tmp_path)
    assert "Plivo()" in made["main.py"]
    assert "SonioxSTT()" in made["main.py"]
    assert f"OPENAI_API_KEY={SECRET}\n" in made[".env"]
    assert "PLIVO_AUTH_ID=MA123\n" in made[".env"]


@unix
async def test_ctrl_c_writes_nothing(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    await terminal.start()
    await terminal.until("mode (")
    terminal.process.send_signal(signal.SIGINT)
    assert await terminal.status() == 130
    assert "interrupted" in terminal.shown
    assert not contents(tmp_path)
