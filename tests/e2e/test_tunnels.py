"""Tunnels: names that others forward, and a stand-in for `cloudflared` that is started for real.

The stand-in writes what the real program writes to its log. What goes wrong is the name of the port it is given.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from getpatter import Patter
from getpatter.errors import PatterConnectionError
from getpatter.testing.callers import Caller, Polite, babble, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio
from getpatter.tunnels import CloudflareTunnel, Ngrok, Static, Tunnel, tunnel_of

NAME: Final = "slow-green-hill-road.trycloudflare.com"
FINE, CRASHES, MUTE, DIES, STUBBORN, ODD = range(8001, 8007)

STAND_IN: Final = f"""#!{sys.executable}
import os, signal, sys, time

assert sys.argv[1:4] == ["tunnel", "--no-autoupdate", "--url"], sys.argv
port = int(sys.argv[4].rpartition(":")[2])
assert sys.argv[4] == f"http://127.0.0.1:{{port}}"

def say(text):
    print("2026-01-01T00:00:00Z " + text, file=sys.stderr, flush=True)

open(os.environ["STAND_IN_PID"], "w").write(str(os.getpid()))
with open(os.environ["STAND_IN_PID"] + ".starts", "a+") as starts:
    starts.write("x")
    starts.seek(0)
    count = len(starts.read())
name = "{NAME}" if count == 1 else f"start-{{count}}.trycloudflare.com"
if port == {STUBBORN}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
say("INF Thank you for trying Cloudflare Tunnel. https://developers.cloudflare.com/x")
say("INF Requesting new quick Tunnel on trycloudflare.com...")
if port == {CRASHES}:
    say('ERR failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": timeout')
    sys.exit(1)
if port != {MUTE}:
    say(f"INF |  https://{{name}}  |")
    if port == {ODD}:
        say("INF " + "x" * 200_000)
    say("INF Registered tunnel connection connIndex=0 connection=0b7a location=ams01 protocol=quic")
for _ in range(3 if port == {DIES} else 60_000):
    time.sleep(0.05)
    say("INF still here")
"""


@pytest.fixture
def pid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`cloudflared` is on the path; the file tells its process id."""
    program = tmp_path / "cloudflared"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STAND_IN_PID", str(tmp_path / "pid"))
    return tmp_path / "pid"


async def known(_: str) -> bool:
    return True


async def unknown(_: str) -> bool:
    return False


@asynccontextmanager
async def up(port: int) -> AsyncIterator[CloudflareTunnel]:
    tunnel = CloudflareTunnel(resolver=known)
    await tunnel.start(port)
    try:
        yield tunnel
    finally:
        await tunnel.stop()


def pid_in(pid_file: Path) -> str:
    return pid_file.read_text() if pid_file.exists() else ""


def is_running(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_name_is_that_of_the_program_once_it_resolves(pid_file: Path) -> None:
    asked: list[str] = []

    async def at_the_third_time(name: str) -> bool:
        asked.append(name)
        return len(asked) == 3

    tunnel = CloudflareTunnel(resolver=at_the_third_time)
    assert tunnel.hostname == ""
    assert await tunnel.start(FINE) == NAME
    assert asked == [NAME] * 3
    assert tunnel.hostname == NAME
    assert is_running(pid_file)
    await tunnel.stop()
    assert not is_running(pid_file)
    assert tunnel.hostname == ""
    await tunnel.stop()


async def test_it_can_be_started_again(pid_file: Path) -> None:
    async with up(FINE) as tunnel:
        first = pid_in(pid_file)
        await tunnel.start(FINE)
        assert pid_in(pid_file) != first
    assert not is_running(pid_file)


async def test_a_missing_program_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PatterConnectionError, match=r"not installed: .*brew install") as error:
        await CloudflareTunnel().start(FINE)
    assert not error.value.retryable


async def test_a_program_that_cannot_run_is_told_from_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cloudflared").write_text("#!/nowhere/at/all\n")
    (tmp_path / "cloudflared").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PatterConnectionError, match="could not be started"):
        await CloudflareTunnel().start(FINE)


async def test_a_program_that_crashes_is_quoted(pid_file: Path) -> None:
    with pytest.raises(PatterConnectionError, match=r"ended before .* failed to request quick"):
        await CloudflareTunnel(resolver=known).start(CRASHES)
    assert not is_running(pid_file)


async def test_a_program_without_a_name_is_given_up(pid_file: Path) -> None:
    with pytest.raises(PatterConnectionError, match=r"not up within 1\.5 s"):
        await CloudflareTunnel(resolver=known, up_within=1.5).start(MUTE)
    assert not is_running(pid_file)


async def test_a_name_that_never_resolves_is_given_up(pid_file: Path) -> None:
    with pytest.raises(PatterConnectionError, match="not up within"):
        await CloudflareTunnel(resolver=unknown, up_within=1.5).start(FINE)
    assert not is_running(pid_file)


async def test_a_program_that_ends_while_its_name_is_looked_up_is_noticed(pid_file: Path) -> None:
    with pytest.raises(PatterConnectionError, match="ended before"):
        await CloudflareTunnel(resolver=unknown).start(DIES)
    assert not is_running(pid_file)


async def test_a_tunnel_that_is_lost_is_noticed(pid_file: Path) -> None:
    async with up(DIES) as tunnel:
        async with asyncio.timeout(10):
            await tunnel.lost()
        assert tunnel.hostname == NAME
    assert not is_running(pid_file)


async def test_a_line_without_end_does_not_stop_the_reading(pid_file: Path) -> None:
    async with up(ODD) as tunnel:
        assert tunnel.hostname == NAME
        assert is_running(pid_file)


async def test_a_cancelled_start_leaves_nothing_behind(pid_file: Path) -> None:
    starting = asyncio.create_task(CloudflareTunnel(resolver=unknown).start(FINE))
    while not pid_in(pid_file):
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not is_running(pid_file)


@pytest.mark.timeout(30)
async def test_a_program_that_will_not_end_is_made_to(pid_file: Path) -> None:
    async with up(STUBBORN):
        pass
    assert not is_running(pid_file)


@pytest.mark.timeout(30)
def test_it_ends_with_the_interpreter(pid_file: Path) -> None:
    program = f"""
        import asyncio, sys
        from getpatter.tunnels import CloudflareTunnel

        async def known(name):
            return True

        async def main():
            tunnel = CloudflareTunnel(resolver=known)
            print(await tunnel.start({FINE}), flush=True)
            sys.exit(3)

        asyncio.run(main())
    """
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        env=dict(os.environ),
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=25,
    )
    assert (run.returncode, run.stdout.strip()) == (3, NAME)
    assert not is_running(pid_file)


# --------------------------------------------------------------------------------- while it is serving


@asynccontextmanager
async def serving(
    twilio: SimulatedTwilio, tunnel: CloudflareTunnel, **options: Any
) -> AsyncIterator[Patter]:
    """A phone behind a tunnel of its own, ready."""
    phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, tunnel=tunnel)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    twilio.server = f"127.0.0.1:{port}"
    agent = phone.agent(
        "You are the desk of a clinic.",
        stt=ScriptedSTT(["a haircut"], final_delay=0.1),
        tts=ScriptedTTS(0.02, ms_per_letter=20),
        llm=ScriptedLLM(["Certainly."], first_token_delay=0.05),
        first_message="Welcome.",
    )
    task = asyncio.create_task(phone.serve(agent, port=port, **options))
    try:
        await phone.ready
        yield phone
    finally:
        await phone.disconnect()
        await asyncio.wait_for(task, 10)


async def until(done: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(0.02)


@pytest.mark.timeout(40)
async def test_a_tunnel_that_dies_is_started_again_and_the_carrier_follows(
    pid_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = CloudflareTunnel(resolver=known)
    ended: list[str] = []
    async with SimulatedTwilio() as twilio:
        async with serving(
            twilio, tunnel, on_call_end=lambda event: ended.append(event["reason"])
        ) as phone:
            assert await phone.ready == NAME
            assert twilio.numbers[0].voice_url == f"https://{NAME}/webhooks/twilio/voice"
            running = twilio.ring(Caller(wait(60_000), voice=babble))
            await running.until("in-progress")

            os.kill(int(pid_in(pid_file)), signal.SIGKILL)
            again = "start-2.trycloudflare.com"
            await until(lambda: again in twilio.numbers[0].voice_url)
            assert twilio.numbers[0].voice_url == f"https://{again}/webhooks/twilio/voice"
            assert is_running(pid_file)
            assert tunnel.hostname == again
            async with asyncio.timeout(5):  # the carrier's answer is on its way to us
                while await phone.ready != again:
                    await asyncio.sleep(0.02)
            assert await phone.tunnel_ready == again

            # Signatures are those of the new name, and so are the streams of new calls.
            call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
            await call.ended()
            assert len(call.tape().heard_spans()) == 2
            forged = twilio.ring(
                Caller(wait(60_000), voice=babble),
                voice_url=f"https://{NAME}/webhooks/twilio/voice",
            )
            await forged.ended()
            assert [each.status for each in forged.deliveries if each.kind == "voice"] == [403]

            assert running.status == "in-progress"
            await until(lambda: ended == ["caller_hangup"])
        assert not is_running(pid_file)
    said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert [text.split()[0] for text in said if text.startswith("tunnel.")] == [
        "tunnel.lost",
        "tunnel.moved",
    ]
    assert f"host={NAME}" in said[0]
    assert f"host={again}" in said[1]


@pytest.mark.timeout(40)
async def test_a_tunnel_that_is_on_its_way_back_does_not_hold_up_the_end(pid_file: Path) -> None:
    is_known = True

    async def resolver(_: str) -> bool:
        return is_known

    async with SimulatedTwilio() as twilio:
        async with serving(twilio, CloudflareTunnel(resolver=resolver)):
            is_known = False
            first = pid_in(pid_file)
            os.kill(int(first), signal.SIGKILL)
            await until(lambda: pid_in(pid_file) not in {"", first})
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 8
        assert not is_running(pid_file)


# ----------------------------------------------------------------------------------- names of others


@pytest.mark.parametrize("tunnel", [Static("abc.ngrok.io"), Ngrok("abc.ngrok.io")])
async def test_names_of_others_are_neither_started_nor_lost(tunnel: Tunnel) -> None:
    assert await tunnel.start(8000) == tunnel.hostname == "abc.ngrok.io"
    assert not tunnel.is_started_here
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await tunnel.lost()
    await tunnel.stop()


@pytest.mark.parametrize("name", ["", "https://abc.ngrok.io", "abc.ngrok.io/path", "a b"])
def test_only_bare_names_are_names(name: str) -> None:
    with pytest.raises(ValueError, match="hostname"):
        Static(name)
    if name:
        with pytest.raises(ValueError, match="hostname"):
            Ngrok(name)


def test_ngrok_is_not_started() -> None:
    with pytest.raises(NotImplementedError, match="ngrok http 8000"):
        Ngrok()


def test_what_a_program_may_pass_as_tunnel() -> None:
    static = Static(hostname="abc.ngrok.io")
    assert isinstance(tunnel_of(True), CloudflareTunnel)
    assert tunnel_of(static) is static
    assert tunnel_of(None) is None
    assert tunnel_of(False) is None
    for wrong in ("abc.ngrok.io", 1, CloudflareTunnel, object()):
        with pytest.raises(TypeError, match="tunnel must be"):
            tunnel_of(wrong)
