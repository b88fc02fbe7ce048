"""The fake Ultravox over real sockets: our engine creates a call, joins it, talks and hangs up."""

from __future__ import annotations

import asyncio

from getpatter import UltravoxRealtime
from getpatter.core import messages as m
from getpatter.engines.base import Briefing
from getpatter.net.http import HttpClient
from getpatter.net.tasks import TaskNest
from getpatter.runtime.duplex import Duplex
from getpatter.testing.callers import syllables
from getpatter.testing.fake_ultravox import FakeUltravox, Says
from getpatter.testing.line import as_heard_by
from getpatter.types import MULAW_8K


async def test_our_engine_speaks_over_a_real_socket_and_closes_it() -> None:
    told: list[m.AnyInput] = []
    answered = asyncio.Event()
    lost: list[Exception] = []

    class Nothing:
        is_quiet = True

        def so_far(self) -> list[tuple[str, str]]:
            return []

    def report(event: m.AnyInput) -> None:
        told.append(event)
        if isinstance(event, m.EngineReplyEnded):
            answered.set()

    async with FakeUltravox(
        heard=["Hello."], says=[Says("Hi!")], first_delay=0.01, speed=50
    ) as service:
        http = HttpClient("test")
        async with TaskNest("test") as nest:
            briefing = Briefing("Be brief.")
            duplex = Duplex(
                UltravoxRealtime(service.key, base_url=service.url),
                briefing,
                http=http,
                report=report,
                lost=lost.append,
                spawn=nest.spawn,
            )
            running = nest.spawn(duplex.run(), "engine")
            duplex.attach(briefing, Nothing())
            voice = as_heard_by(syllables(4), MULAW_8K) + b"\xff" * 8000
            for start in range(0, len(voice), 160):
                duplex.hear(voice[start : start + 160])
            await asyncio.wait_for(answered.wait(), 5)
            await duplex.close()
            await asyncio.wait_for(running, 5)
        await http.aclose()
    assert m.EngineTranscribed("caller-1", "Hello.") in told
    sound = b"".join(event.audio for event in told if isinstance(event, m.EngineAudio))
    assert len(sound) >= 1400
    assert service.close_codes == [1000]
    assert not service.problems
    assert not lost
