"""What happens to each example while it runs: the plug between documents and the simulated world.

A scenario is a function of an example and a stage. Most examples need no more than an environment
(`constructs`). One that serves calls gets a world with a caller in it: write a function here that starts the
simulated carrier, runs the example with `stage.run_while(example, world)`, and asserts what the caller heard
and what the program was told; then enter it in `SCENARIOS` and take the example out of `NOT_YET`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.seeds_support.extract import Example
from tests.seeds_support.stage import Stage

Scenario = Callable[[Example, Stage], None]

SETTINGS: Final = {
    "PHONE_NUMBER": "+15550001234",
    "WEBHOOK_URL": "agent.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
    "TELNYX_API_KEY": "KEY0123456789ABCDEF",
    "TELNYX_CONNECTION_ID": "2000000000000000000",
    "OPENAI_API_KEY": "sk-made-up",
}
"""What the documents tell a reader to put into `.env`. All of it made up."""


def constructs(example: Example, stage: Stage) -> None:
    """It runs, and nothing it makes shows a secret in its `repr`."""
    names = stage.run(example)
    made = [names[name] for name in ("phone", "carrier") if name in names]
    assert made, "the example makes a phone or a carrier"
    secrets = [stage.settings[name] for name in ("TWILIO_AUTH_TOKEN", "TELNYX_API_KEY")]
    shown = [secret for secret in secrets for thing in made if secret in repr(thing)]
    assert not shown


SCENARIOS: Final[dict[str, Scenario]] = {
    "initialize": constructs,
    "twilio": constructs,
    "twilio-namespaced": constructs,
    "telnyx": constructs,
    "telnyx-namespaced": constructs,
}
"""Example -> what happens to it."""


@dataclass(frozen=True)
class Missing:
    """Why an example does not work yet, and how that shows."""

    reason: str
    raises: type[Exception]


NOT_YET: Final[dict[str, Missing]] = {
    "initialize": Missing("there is no Patter yet", ImportError),
    "serve": Missing("no scenario: needs Patter.serve and the simulated carrier", KeyError),
    "outbound": Missing("no scenario: needs Patter.call and the simulated carrier", KeyError),
    "disconnect": Missing("no scenario: needs Patter.serve and the simulated carrier", KeyError),
    "complete": Missing("no scenario: needs the OpenAI Realtime engine", KeyError),
    "twilio": Missing("there is no Patter yet", ImportError),
    "telnyx": Missing("there is no Telnyx carrier yet", ImportError),
    "telnyx-namespaced": Missing("there is no Telnyx carrier yet", ImportError),
}
"""Examples that are expected to fail. Strict: one that begins to work must be taken out."""


SCENARIOS_OF_DOCS: Final[dict[str, Scenario]] = {}
"""Name that a page gives in `<!-- test: scenario NAME -->` -> what happens to the block below it."""

NOT_YET_IN_DOCS: Final[dict[str, Missing]] = {
    "pizza": Missing("no scenario: needs Patter.serve and the simulated carrier", KeyError),
}
"""Scenarios of pages that are expected to fail. Strict, like `NOT_YET`."""
