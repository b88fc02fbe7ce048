"""The hooks around the model: `before_llm` and `after_llm`, which comes as a dict, an object or a function."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from getpatter.errors import PatterDeprecationWarning
from getpatter.runtime.wording import guarded

if TYPE_CHECKING:
    from getpatter.agent import HookContext, PipelineHooks

logger = logging.getLogger(__name__)

Hook = Callable[..., object]
_NAMES = ("on_chunk", "on_sentence", "on_response")


def after_llm(hooks: PipelineHooks | None, name: str) -> Hook | None:
    """One of the functions of `after_llm`: `on_chunk`, `on_sentence` or `on_response`."""
    given: object = getattr(hooks, "after_llm", None)
    if given is None:
        return None
    if isinstance(given, Mapping):
        return cast("Hook | None", given.get(name))
    found = getattr(given, name, None)
    if found is None and callable(given) and not any(hasattr(given, each) for each in _NAMES):
        return given if name == "on_response" else None
    return cast("Hook | None", found)


def warn_of_bare_function(hooks: PipelineHooks | None) -> None:
    """Say once where `after_llm` is a function, which works as `on_response`."""
    given: object = getattr(hooks, "after_llm", None)
    if given is not None and given is after_llm(hooks, "on_response"):
        warnings.warn(
            "after_llm=function is an older spelling; write after_llm={'on_response': function}",
            PatterDeprecationWarning,
            stacklevel=2,
        )


class ModelHooks:
    """What a program does to the model's messages and words. Hooks that fail change nothing."""

    def __init__(self, hooks: PipelineHooks | None, context: Callable[[], HookContext]) -> None:
        """`context` is what hooks are told of the call; asked once for each reply."""
        self._before = getattr(hooks, "before_llm", None)
        self._on_chunk = after_llm(hooks, "on_chunk")
        self._on_response = after_llm(hooks, "on_response")
        self._context = context

    @property
    def holds_speech(self) -> bool:
        """Whether nothing is said before the whole reply is there."""
        return self._on_response is not None

    async def messages(self, messages: list[dict[str, object]]) -> Sequence[Mapping[str, object]]:
        """What the model is really sent."""
        if self._before is None:
            return messages
        changed = await guarded(
            "before_llm", self._before, messages, self._context(), unchanged=None
        )
        if changed is None:
            return messages
        if isinstance(changed, list | tuple):
            return changed
        logger.warning("hook.failed stage=before_llm error=%s", type(changed).__name__)
        return messages

    def chunk(self, text: str) -> str:
        """A piece of the model's words after `on_chunk`, a plain function: it is run for every token."""
        if self._on_chunk is None:
            return text
        try:
            changed = self._on_chunk(text)
        except Exception as error:  # noqa: BLE001 - user code; the text passes as it was
            logger.warning("hook.failed stage=on_chunk error=%s", type(error).__name__)
            return text
        return changed if isinstance(changed, str) else text

    async def response(self, text: str) -> str:
        """The whole reply after `on_response`."""
        if self._on_response is None:
            return text
        changed = await guarded(
            "on_response", self._on_response, text, self._context(), unchanged=None
        )
        return changed if isinstance(changed, str) else text
