"""What is kept of a call, on disk and in the store, while it is held in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from getpatter.agent import build_agent
from getpatter.dashboard.store import MetricsStore
from getpatter.observability.call_log import read_lines
from getpatter.testing.callers import Caller, Polite, babble, hang_up, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time


def files_of_the_call(root: Path) -> tuple[dict[str, Any], list[dict[str, object]]]:
    (folder,) = root.glob("calls/*/*/*/*")
    return json.loads((folder / "metadata.json").read_text()), read_lines(
        folder / "transcript.jsonl"
    )


@in_virtual_time
async def test_a_call_is_kept_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    agent = build_agent(
        "x",
        None,
        stt=ScriptedSTT(["book it"]),
        tts=ScriptedTTS(),
        llm=ScriptedLLM(["Done."]),
        first_message="Hello.",
    )
    store = MetricsStore()
    async with Simulation(agent, persist_root=tmp_path, store=store) as phone:
        call = await phone.talk(Polite("book it", voice=babble))
    meta, lines = files_of_the_call(tmp_path)
    assert (meta["call_id"], meta["status"], meta["reason"]) == (
        call.sid,
        "completed",
        "caller_hangup",
    )
    assert (meta["caller"], meta["direction"]) == ("***9876", "inbound")
    assert [(line["role"], line["text"]) for line in lines] == [
        ("assistant", "Hello."),
        ("user", "book it"),
        ("assistant", "Done."),
    ]
    latency = lines[2]["latency"]
    assert isinstance(latency, dict)
    assert latency["llm_ms"] == pytest.approx(200, abs=6)
    record = store.get_call(call.sid)
    assert record is not None
    assert record["caller"] == "+15550009876"
    assert len(store.get_aggregates()) == 7
    again = MetricsStore()
    assert again.hydrate(tmp_path) == 1
    restored = again.get_call(call.sid)
    assert restored is not None
    assert restored["transcript"] == [
        {key: line[key] for key in ("role", "text", "turn_index")} for line in lines
    ]


@in_virtual_time
async def test_a_store_that_fails_costs_nobody_a_call() -> None:
    class Broken(MetricsStore):
        """Refuses everything."""

        def record_transcript_line(self, event: object) -> None:
            raise OSError("the database is gone")

    agent = build_agent(
        "x",
        None,
        stt=ScriptedSTT(["a"]),
        tts=ScriptedTTS(),
        llm=ScriptedLLM(["b."]),
        first_message="Hi.",
    )
    async with Simulation(agent, store=Broken()) as phone:
        call = await phone.talk(Caller(wait(3000), hang_up(), voice=babble))
    assert phone.calls[call.sid].end["reason"] == "caller_hangup"
