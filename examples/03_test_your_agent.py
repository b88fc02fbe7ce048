"""Test an agent with a whole phone call, in virtual time: `pytest examples/03_test_your_agent.py`.

The carrier is simulated and nothing opens a socket; a call of half a minute takes a moment. Recogniser and voice are
scripted here, so the test is about what you wrote: the answers, and the manners of the conversation.
"""

from getpatter import CallControl, Patter
from getpatter.testing.callers import Caller, interrupt_after, listen, say
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time


async def on_message(message: dict, call: CallControl) -> str:
    """What is tested."""
    if "story" in message["text"]:
        return "Once upon a time there was a telephone that rang and rang and nobody was at home."
    await call.hangup()
    return "All right. Goodbye!"


def agent_that_hears(*lines: str):
    """The agent; its recogniser hears these lines, whatever is said."""
    return Patter().agent(
        system_prompt="You tell stories.",
        first_message="Hello! Shall I tell you a story?",
        stt=ScriptedSTT(list(lines)),
        tts=ScriptedTTS(),
    )


@in_virtual_time
async def test_it_stops_when_it_is_interrupted() -> None:
    """What the caller did not hear was not said."""
    agent = agent_that_hears("tell me a story", "no thanks")
    caller = Caller(listen(), say("tell me a story"), interrupt_after(1500), say("no thanks"))
    async with Simulation(agent, on_message=on_message) as phone:
        call = await phone.talk(caller)

    said = phone.transcript(call.sid)
    assert [role for role, _ in said] == ["assistant", "user", "assistant", "user", "assistant"]
    assert said[-1] == ("assistant", "All right. Goodbye!")
    assert said[2][1].startswith("Once upon a time")
    assert "nobody was at home" not in said[2][1]
    assert call.hung_up_by == "api"  # the agent hung up, after its goodbye
    assert not phone.problems  # the carrier has nothing to complain about
