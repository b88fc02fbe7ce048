"""A warm transfer by Telnyx: the caller hears hold music, the target the summary, then they are bridged.

Protocol: https://developers.telnyx.com/api-reference/call-commands. What becomes of the target is told by events of
its own leg, which name the caller's call in their client state.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from getpatter.carriers import _telnyx_forms as forms
from getpatter.carriers._telnyx_state import State
from getpatter.carriers.base import Warm
from getpatter.net.messages import Exchange

RINGS_S: Final = 30
LONGEST_SUMMARY: Final = 3000

Order = Callable[[str, str, Mapping[str, object] | None, int], Exchange[None]]
"""Send a command about a call."""
Place = Callable[[Mapping[str, object]], Exchange[str]]
"""Place a call; returns its id."""


@dataclass(frozen=True, slots=True)
class WarmTransfer:
    """The requests of one warm transfer."""

    order: Warm
    command: Order
    place: Place

    def hold(self) -> Exchange[None]:
        """Play music to the caller. Raises `PatterConfigError` when the target cannot be called or told."""
        order = self.order
        forms.check_target(order.to)
        forms.check_number(order.from_number)
        if len(order.summary) > LONGEST_SUMMARY:
            raise forms.invalid(f"a summary of {len(order.summary)} characters; Telnyx speaks 3000")
        music = {"playback_content": hold_music(), "audio_type": "wav", "loop": "infinity"}
        yield from self.command(order.call_id, "playback_start", music, order.serial)

    def call_target(self) -> Exchange[str]:
        """Ring the target, listening for machines."""
        order = self.order
        return (
            yield from self.place(
                {
                    "to": order.to,
                    "from": order.from_number,
                    "timeout_secs": RINGS_S,
                    "time_limit_secs": max(30, order.time_limit),
                    "link_to": order.call_id,
                    "client_state": State.of_target(order.call_id),
                    "answering_machine_detection": "detect",
                }
            )
        )

    def brief(self, target_id: str) -> Exchange[None] | None:
        """Speak the summary to the target."""
        order = self.order
        if not order.summary:
            return self.join(target_id)
        body = {
            "payload": order.summary,
            "voice": "female",
            "language": forms.locale(order.language),
        }
        return self.command(target_id, "speak", body, order.serial)

    def join(self, target_id: str) -> Exchange[None]:
        """Stop the music and bridge."""
        yield from self._stop_music()
        body = {"call_control_id": target_id}
        yield from self.command(self.order.call_id, "bridge", body, self.order.serial)

    def resume(self) -> Exchange[None]:
        """Stop the music."""
        return self._stop_music()

    def _stop_music(self) -> Exchange[None]:
        order = self.order
        yield from self.command(order.call_id, "playback_stop", {"stop": "all"}, order.serial)


@cache
def hold_music() -> str:
    """Four seconds of two soft chords, to be repeated: a WAV file in base64."""
    from getpatter.audio.hold import hold_music  # noqa: PLC0415 - arithmetic that most calls never need

    return b64encode(hold_music()).decode()
