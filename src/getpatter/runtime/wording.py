"""From what the model wrote to what is said: hooks, guardrails, transforms, in the documented order (CV-28..35).

`on_sentence` -> guardrails -> `text_transforms` -> (changed? guardrails again) -> `before_synthesize`. Hooks fail
open (the text passes unchanged), guardrails fail closed (the replacement is said).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

from getpatter.core.guardrails import compiled, longest_tail, screen
from getpatter.runtime.mouth import Worded

if TYPE_CHECKING:
    from getpatter.agent import Agent, HookContext
    from getpatter.tools import Guardrail

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

CHECK_WITHIN: Final = 1.0
_T = TypeVar("_T")


async def settle(value: _T | Awaitable[_T]) -> _T:
    """The value itself, or what it promises."""
    if inspect.isawaitable(value):
        return await cast("Awaitable[_T]", value)
    return value


class Script:
    """The wording of one call. Sentences of one reply come in order, so a phrase split over two is found."""

    def __init__(
        self,
        agent: Agent,
        *,
        context: Callable[[], HookContext],
        triggered: Callable[[str], None],
    ) -> None:
        """Word the replies of `agent`.

        Args:
            agent: Its guardrails, transforms and hooks.
            context: What hooks are told of the call.
            triggered: Told the name of a guardrail that was hit, never the text.
        """
        self._rules = compiled(agent.guardrails or ())
        self._transforms = tuple(agent.text_transforms or ())
        self._hooks = agent.hooks
        self._context = context
        self._triggered = triggered
        self._tail = ""

    async def word(self, text: str, is_checked: bool) -> Worded:  # noqa: FBT001 - the form of `Wording`
        """What will be said of `text`. `is_checked`: the operator's own words, which no guardrail judges."""
        if not is_checked:
            sentence = await self._on_sentence(text)
            if not sentence:
                return Worded("")
            hit = await self._hit(sentence)
            if hit is not None:
                return self._replaced(hit)
            self._tail = longest_tail(self._rules, sentence, self._tail)
            text = sentence
        changed = self._transformed(text)
        if changed != text and not is_checked:
            hit = await self._hit(changed)
            if hit is not None:
                return self._replaced(hit)
        spoken = await self._before_synthesize(changed)
        if spoken and spoken != changed and not is_checked:
            hit = await self._hit(spoken)
            if hit is not None:
                return self._replaced(hit)
        return Worded(spoken or "")

    def new_reply(self) -> None:
        """Forget the words of the reply before."""
        self._tail = ""

    def _replaced(self, guardrail: Guardrail) -> Worded:
        self._triggered(guardrail.name)
        return Worded(guardrail.replacement, ends_reply=True)

    async def _hit(self, text: str) -> Guardrail | None:
        asking = screen(self._rules, text, self._tail)
        try:
            check = next(asking)
            while True:
                check = asking.send(await self._blocks(check, text))
        except StopIteration as verdict:
            found: Guardrail | None = verdict.value
            return found

    async def _blocks(self, check: Callable[[str], object], text: str) -> bool:
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                return bool(await settle(check(text)))
        except Exception as error:
            logger.warning(
                "guardrail.check_failed error=%s",
                type(error).__name__,
                exc_info=without_text(error),
            )
            return True

    def _transformed(self, text: str) -> str:
        for transform in self._transforms:
            try:
                text = transform(text)
            except Exception as error:  # noqa: BLE001 - user code; the text passes as it was
                logger.warning("hook.failed stage=text_transforms error=%s", type(error).__name__)
        return text

    async def _on_sentence(self, text: str) -> str:
        after = getattr(self._hooks, "after_llm", None)
        hook = (
            after.get("on_sentence")
            if isinstance(after, dict)
            else getattr(after, "on_sentence", None)
        )
        if hook is None:
            return text
        changed = await guarded("on_sentence", hook, text, self._context(), unchanged=text)
        return text if changed is None else str(changed)

    async def _before_synthesize(self, text: str) -> str | None:
        hook = getattr(self._hooks, "before_synthesize", None)
        if hook is None:
            return text
        changed = await guarded("before_synthesize", hook, text, self._context(), unchanged=text)
        return None if changed is None else str(changed)


async def guarded(
    stage: str, hook: Callable[..., object], *arguments: object, unchanged: object
) -> object:
    """The result of a user's hook, sync or async; `unchanged` when it fails."""
    try:
        return await settle(hook(*arguments))
    except Exception as error:
        logger.warning(
            "hook.failed stage=%s error=%s",
            stage,
            type(error).__name__,
            exc_info=without_text(error),
        )
        return unchanged
