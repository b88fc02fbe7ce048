"""The test kit that ships with the SDK: a clock you turn, simulated carriers, callers and services.

```python
from getpatter.testing import Polite, Simulation, SimulatedTwilio
```

Names load on first use. `docs/how-to/test-your-agent.md` shows how to test an agent with it,
`getpatter.testing.contracts` is for carriers and providers of your own, and pytest knows
`getpatter.testing.pytest_plugin` by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from getpatter.testing.callers import (
        Caller,
        Handset,
        Interrupter,
        Mumbler,
        Polite,
        SilentOne,
        babble,
        cough,
        hang_up,
        hum,
        interrupt_after,
        listen,
        mumble,
        press,
        say,
        silence,
        wait,
        wait_until,
        wav,
    )
    from getpatter.testing.line import Conditions, PlayBuffer, Tape
    from getpatter.testing.network import InMemory, Loopback
    from getpatter.testing.plivo import SimulatedPlivo, SimulatedPlivoCall
    from getpatter.testing.plivo_leg import PlivoLeg
    from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
    from getpatter.testing.pytest_plugin import PhoneSimulation
    from getpatter.testing.ride import MemorySocket, Ride
    from getpatter.testing.simulation import Simulation
    from getpatter.testing.telnyx import Habits, SimulatedTelnyx, SimulatedTelnyxCall
    from getpatter.testing.telnyx_leg import TelnyxLeg
    from getpatter.testing.time import ManualClock, VirtualTimeLoop, in_virtual_time
    from getpatter.testing.twilio import Callee, SimulatedCall, SimulatedTwilio
    from getpatter.testing.twilio_leg import TwilioLeg

_HOME: Final = {
    "Callee": "twilio",
    "Caller": "callers",
    "Conditions": "line",
    "Habits": "telnyx",
    "Handset": "callers",
    "InMemory": "network",
    "Interrupter": "callers",
    "Loopback": "network",
    "ManualClock": "time",
    "MemorySocket": "ride",
    "Mumbler": "callers",
    "PhoneSimulation": "pytest_plugin",
    "PlayBuffer": "line",
    "PlivoLeg": "plivo_leg",
    "Polite": "callers",
    "Ride": "ride",
    "ScriptedLLM": "providers",
    "ScriptedSTT": "providers",
    "ScriptedTTS": "providers",
    "SilentOne": "callers",
    "SimulatedCall": "twilio",
    "SimulatedPlivo": "plivo",
    "SimulatedPlivoCall": "plivo",
    "SimulatedTelnyx": "telnyx",
    "SimulatedTelnyxCall": "telnyx",
    "SimulatedTwilio": "twilio",
    "Simulation": "simulation",
    "Tape": "line",
    "TelnyxLeg": "telnyx_leg",
    "TwilioLeg": "twilio_leg",
    "VirtualTimeLoop": "time",
    "babble": "callers",
    "cough": "callers",
    "hang_up": "callers",
    "hum": "callers",
    "in_virtual_time": "time",
    "interrupt_after": "callers",
    "listen": "callers",
    "mumble": "callers",
    "press": "callers",
    "say": "callers",
    "silence": "callers",
    "wait": "callers",
    "wait_until": "callers",
    "wav": "callers",
}

__all__ = [
    "Callee",
    "Caller",
    "Conditions",
    "Habits",
    "Handset",
    "InMemory",
    "Interrupter",
    "Loopback",
    "ManualClock",
    "MemorySocket",
    "Mumbler",
    "PhoneSimulation",
    "PlayBuffer",
    "PlivoLeg",
    "Polite",
    "Ride",
    "ScriptedLLM",
    "ScriptedSTT",
    "ScriptedTTS",
    "SilentOne",
    "SimulatedCall",
    "SimulatedPlivo",
    "SimulatedPlivoCall",
    "SimulatedTelnyx",
    "SimulatedTelnyxCall",
    "SimulatedTwilio",
    "Simulation",
    "Tape",
    "TelnyxLeg",
    "TwilioLeg",
    "VirtualTimeLoop",
    "babble",
    "cough",
    "hang_up",
    "hum",
    "in_virtual_time",
    "interrupt_after",
    "listen",
    "mumble",
    "press",
    "say",
    "silence",
    "wait",
    "wait_until",
    "wav",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return __all__
