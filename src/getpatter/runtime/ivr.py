"""An agent in somebody else's phone menu: `IVRActivity` watches one call for circles and for silence."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from getpatter.core.phone_menus import DtmfEvent, TfidfLoopDetector, format_dtmf
from getpatter.runtime.tasks import TaskNest
from getpatter.tools import Tool
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

_BUSY: Final = frozenset({"speaking", "thinking"})
_PARAMETERS: Final[Mapping[str, object]] = {
    "type": "object",
    "properties": {
        "events": {
            "type": "array",
            "description": "The keys, in order.",
            "items": {"type": "string", "enum": [each.value for each in DtmfEvent]},
            "minItems": 1,
        }
    },
    "required": ["events"],
}


class PressesKeys(Protocol):
    """A `CallControl`, as far as it is needed."""

    async def send_dtmf(self, digits: str) -> None:
        """Play keys to the other side."""
        ...


class IVRActivity:
    """Watches one call to a phone menu. Tell it what is said and who speaks; it tells of circles and silence.

    ```python
    activity = IVRActivity(call, on_loop_detected=ask_for_a_person, on_silence=press_zero)
    await activity.start()
    ```
    """

    def __init__(
        self,
        call_control: PressesKeys,
        *,
        max_silence_duration: float = 5.0,
        loop_detector: bool | TfidfLoopDetector = True,
        on_loop_detected: Callable[[], object] | None = None,
        on_silence: Callable[[], object] | None = None,
    ) -> None:
        """Watch the call of `call_control`, from `start` on.

        Args:
            call_control: Of the call; its keys are what `tools` press.
            max_silence_duration: Seconds in which neither side speaks, after which `on_silence` is called; and again
                after as many more.
            loop_detector: Whether announcements that come round again are noticed, or who notices them.
            on_loop_detected: Called when they do; may be a coroutine function, as may `on_silence`.
            on_silence: Called when nobody speaks.

        Raises:
            ValueError: `max_silence_duration` is not positive.
        """
        if max_silence_duration <= 0:
            raise ValueError(f"max_silence_duration is {max_silence_duration}; it must be positive")
        self._control = call_control
        self._patience = max_silence_duration
        self._on_loop = on_loop_detected
        self._on_silence = on_silence
        self._detector: TfidfLoopDetector | None = None
        if isinstance(loop_detector, TfidfLoopDetector):
            self._detector = loop_detector
        elif loop_detector:
            self._detector = TfidfLoopDetector()
        self._states = {"user": "listening", "agent": "listening"}
        self._timer: asyncio.TimerHandle | None = None
        self._nest: TaskNest | None = None

    @property
    def tools(self) -> list[Tool]:
        """What a model can press keys with: `send_dtmf_events`."""
        return [
            Tool(
                name="send_dtmf_events",
                description="Press keys in a phone menu.",
                parameters=_PARAMETERS,
                handler=self._press,
            )
        ]

    async def start(self) -> None:
        """Begin to watch. Idempotent."""
        if self._nest is None:
            self._nest = TaskNest("ivr", on_error=_callback_failed)
            self._rearm()

    async def stop(self) -> None:
        """Watch no more: what a callback of it still does is cancelled, unless it is this. `start` begins anew."""
        nest, self._nest = self._nest, None
        self._disarm()
        if self._detector is not None:
            self._detector.reset()
        if nest is not None:
            await nest.close()

    async def aclose(self) -> None:
        """As `stop`, at the end of the call."""
        await self.stop()

    async def on_user_transcribed(self, text: str) -> None:
        """The other side has said `text`. Give it each final transcript."""
        if self._nest is None:
            return
        self._rearm()
        if self._detector is not None and self._detector.add(text) and self._on_loop is not None:
            self._nest.spawn(_told(self._on_loop), name="on_loop_detected")

    def note_user_state(self, state: str) -> None:
        """The other side is now `"speaking"` or `"listening"`."""
        self._note("user", state)

    def note_agent_state(self, state: str) -> None:
        """The agent is now `"speaking"`, `"thinking"` or `"listening"`."""
        self._note("agent", state)

    def _note(self, who: str, state: str) -> None:
        if self._states[who] != state:
            self._states[who] = state
            self._rearm()

    # ------------------------------------------------------------------------------------------ silence

    def _rearm(self) -> None:
        self._disarm()
        is_quiet = not _BUSY & set(self._states.values())
        if self._nest is not None and is_quiet and self._on_silence is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._silent)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _silent(self) -> None:
        if self._nest is not None and self._on_silence is not None:
            self._nest.spawn(_told(self._on_silence), name="on_silence")
            self._rearm()

    # --------------------------------------------------------------------------------------------- keys

    async def _press(self, args: Mapping[str, object], ctx: Mapping[str, object]) -> str:
        del ctx
        events = args.get("events")
        try:
            keys = [DtmfEvent(str(each)) for each in events] if isinstance(events, list) else []
        except ValueError:
            keys = []
        if not keys:
            return "Nothing was pressed: name keys among 0-9, A-D, * and #."
        await self._control.send_dtmf("".join(keys))
        return f"Pressed {format_dtmf(keys)}."


async def _told(callback: Callable[[], object]) -> None:
    answer = callback()
    if inspect.isawaitable(answer):
        await answer


def _callback_failed(name: str, error: BaseException) -> None:
    logger.error(
        "ivr.callback_failed callback=%s error=%s",
        name,
        type(error).__name__,
        exc_info=without_text(error),
    )
