"""Recordings of this machine over real sockets: from `serve()`, from an `EmbeddedServer`, and after `kill -9`."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import textwrap
import wave
from pathlib import Path
from typing import Any

import pytest

from getpatter import Patter
from getpatter.agent import build_agent
from getpatter.config import LocalConfig
from getpatter.server.embedded import EmbeddedServer
from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio

HOST = "agent.example"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def services() -> dict[str, Any]:
    return {
        "stt": ScriptedSTT(["a haircut"], final_delay=0.1),
        "tts": ScriptedTTS(0.02, ms_per_letter=20),
        "llm": ScriptedLLM(["Certainly."], first_token_delay=0.05),
        "first_message": "Welcome.",
    }


def seconds_of(path: object) -> float:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16000)
        frames: int = file.getnframes()
        return frames / 16000


async def one_call(twilio: SimulatedTwilio, ended: list[dict[str, Any]]) -> float:
    """Somebody rings and is answered; returns how long it took."""
    call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
    await call.ended()
    for _ in range(200):
        if ended:
            break
        await asyncio.sleep(0.02)
    seconds: float = call.duration_s
    return seconds


async def test_serve_records_each_call(tmp_path: Path) -> None:
    ended: list[dict[str, Any]] = []
    async with SimulatedTwilio() as twilio:
        phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url=HOST)
        port = free_port()
        twilio.server = f"127.0.0.1:{port}"
        serving = asyncio.create_task(
            phone.serve(
                phone.agent("You are a desk.", **services()),
                port=port,
                local_recording=tmp_path,
                on_call_end=ended.append,
            )
        )
        await phone.ready
        seconds = await one_call(twilio, ended)
        await phone.disconnect()
        await serving
    assert seconds_of(ended[0]["recording_path"]) == pytest.approx(seconds, abs=1.0)


async def test_an_embedded_server_records_each_call(tmp_path: Path) -> None:
    ended: list[dict[str, Any]] = []
    async with SimulatedTwilio() as twilio:
        config = LocalConfig(
            twilio_sid=twilio.account_sid,
            twilio_token=twilio.auth_token,
            webhook_url=HOST,
            persist_root=str(tmp_path),
        )
        server = EmbeddedServer(
            config,
            build_agent("You are a desk.", None, **services()),
            manage_webhook=False,
            local_recording=True,
            on_call_end=ended.append,
        )
        port = free_port()
        twilio.server = f"127.0.0.1:{port}"
        twilio.numbers[0].voice_url = f"https://{HOST}/webhooks/twilio/voice"
        running = asyncio.create_task(server.start(port))
        while not await _answers(port):
            await asyncio.sleep(0.02)
        seconds = await one_call(twilio, ended)
        await server.stop()
        await running
    path = ended[0]["recording_path"]
    assert Path(path).name == "recording.wav"
    assert Path(path).is_relative_to(tmp_path / "calls")
    assert seconds_of(path) == pytest.approx(seconds, abs=1.0)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(("wrong", "kind"), [(1, TypeError), ("", ValueError)])
async def test_what_is_no_place_is_found_before_anything_is_opened(
    wrong: Any, kind: type[Exception]
) -> None:
    twilio = SimulatedTwilio(listens=False)
    phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url=HOST)
    with pytest.raises(kind, match="local_recording"):
        await phone.serve(phone.agent("x", **services()), local_recording=wrong)
    with pytest.raises(kind, match="local_recording"):
        EmbeddedServer(LocalConfig(), phone.agent("x", **services()), local_recording=wrong)


@pytest.mark.timeout(30)
def test_a_recording_whose_process_was_killed_can_be_played(tmp_path: Path) -> None:
    program = f"""
        import asyncio
        from pathlib import Path
        from getpatter.runtime.local_recording import LocalRecording
        from getpatter.types import MULAW_8K, Instant

        async def main():
            path = Path({str(tmp_path)!r}) / "killed.wav"
            tape = LocalRecording(path, MULAW_8K, Instant(100.0))
            for frame in range(1, 501):
                tape.caller(bytes([0x20]) * 160, Instant(100.0 + frame * 0.02))
                await asyncio.sleep(0)
            await tape.finished()
            print("here", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    assert 7.0 <= seconds_of(tmp_path / "killed.wav") <= 10.0
