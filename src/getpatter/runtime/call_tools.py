"""Everything that a model can do in one call: the agent's tools and the built-in ones, with one executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from getpatter.core.history import Line
from getpatter.runtime import clock
from getpatter.runtime.abilities import Abilities, LendsTools, Sources
from getpatter.runtime.consulting import Consulting
from getpatter.runtime.control import CallControl
from getpatter.runtime.identity import Identity
from getpatter.runtime.system_tools import Situation, SystemTools
from getpatter.runtime.tools import Surroundings, Webhooks

if TYPE_CHECKING:
    from getpatter.agent import Agent


def tools_of(  # noqa: PLR0913 - everything a tool may touch
    agent: Agent,
    identity: Identity,
    control: CallControl,
    *,
    variables: Callable[[], Mapping[str, object]],
    lines: Callable[[], Sequence[Line]],
    say: Callable[[str], None],
    emit: Callable[[str, dict[str, object]], None],
    returned: Callable[[str, str], None] = lambda _call_id, _text: None,
    untold: Callable[[], None] = lambda: None,
    webhooks: Webhooks | None = None,
    consulting: Consulting | None = None,
    lent: LendsTools | None = None,
) -> Abilities:
    """What `agent` may do in one call: its tools, the built-in ones, and those that may come. Nothing runs yet.

    Args:
        agent: Its tools, and the limits of the built-in ones.
        identity: Who rang whom.
        control: What the built-in tools act on.
        variables: Those of this call; handlers get a copy.
        lines: The conversation so far; empty before it begins.
        say: Speaks while a tool takes its time.
        emit: The event bus.
        returned: Told the answer to each call.
        untold: Told that something was done for which nobody waits any more.
        webhooks: Asks tools on the web.
        consulting: Asks other agents on the web.
        lent: Connections to tool servers.
    """

    def context() -> dict[str, object]:
        return {
            "call_id": identity.call_id,
            "caller": identity.caller,
            "callee": identity.callee,
            "direction": identity.direction,
            "variables": dict(variables()),
            "custom_params": dict(identity.custom_params),
            "call": control,
        }

    situation = Situation(
        call_id=identity.call_id,
        is_outbound=identity.direction == "outbound",
        opened_at=clock.now(),
        lines=lines,
    )
    surroundings = Surroundings(
        context=context,
        say=say,
        emit=emit,
        returned=returned,
        untold=untold,
        webhooks=webhooks,
        name=identity.call_id,
    )
    sources = Sources(
        built_in=lambda acting: SystemTools(acting, control, situation).tools(),
        consult=None if consulting is None else consulting.tool,
        lent=lent,
        variables=variables,
    )
    return Abilities(agent, sources, surroundings)
