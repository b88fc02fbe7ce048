"""A program's hooks between the stages of a pipeline, run by one rule: sync or async, and harmless when they fail."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from getpatter.errors import PatterDeprecationWarning
from getpatter.runtime.wording import guarded

if TYPE_CHECKING:
    from getpatter.agent import HookContext, PipelineHooks

logger = logging.getLogger(__name__)

Hook = Callable[..., object]
_T = TypeVar("_T")
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


class PipelineHookExecutor:
    """Runs the hooks of a pipeline as a call does: in the documented order, with the documented meaning of `None`.

    Every method returns what goes on to the next stage. A hook that raises is logged, and the value passes as it was;
    so it does where there is no hook.
    """

    def __init__(self, hooks: PipelineHooks | None) -> None:
        """Run `hooks`."""
        self._hooks = hooks
        self._on_chunk = after_llm(hooks, "on_chunk")

    def has(self, name: str) -> bool:
        """Whether there is such a hook: `before_llm`, or `on_sentence` of `after_llm`."""
        return self._hook(name) is not None

    def _hook(self, name: str) -> Hook | None:
        if name in _NAMES:
            return after_llm(self._hooks, name)
        return cast("Hook | None", getattr(self._hooks, name, None))

    async def before_send_to_stt(self, pcm: bytes, context: HookContext) -> bytes | None:
        """The caller's sound for the recogniser; `None`: it is dropped."""
        return _kept(await self._run("before_send_to_stt", pcm, context), bytes)

    async def after_transcribe(self, text: str, context: HookContext) -> str | None:
        """The words of a final transcript; `None` or empty: the turn is dropped."""
        return _kept(await self._run("after_transcribe", text, context), str)

    async def before_llm(
        self, messages: Sequence[Mapping[str, object]], context: HookContext
    ) -> Sequence[Mapping[str, object]]:
        """What the model is sent; a hook that gives `None` keeps it."""
        changed = await self._run("before_llm", messages, context)
        if isinstance(changed, list | tuple):
            return changed
        if changed is not None:
            logger.warning("hook.failed stage=before_llm error=%s", type(changed).__name__)
        return messages

    def on_chunk(self, text: str) -> str:
        """A piece of the model's words. Its hook is a plain function: it is run for every token."""
        if self._on_chunk is None:
            return text
        try:
            changed = self._on_chunk(text)
        except Exception as error:  # noqa: BLE001 - user code; the text passes as it was
            logger.warning("hook.failed stage=on_chunk error=%s", type(error).__name__)
            return text
        return changed if isinstance(changed, str) else text

    async def on_sentence(self, sentence: str, context: HookContext) -> str:
        """A sentence of a reply; a hook that gives `None` keeps it, one that gives `""` drops it."""
        changed = await self._run("on_sentence", sentence, context)
        return sentence if changed is None else str(changed)

    async def on_response(self, text: str, context: HookContext) -> str:
        """A whole reply; a hook that gives `None` keeps it."""
        changed = await self._run("on_response", text, context)
        return changed if isinstance(changed, str) else text

    async def before_synthesize(self, text: str, context: HookContext) -> str | None:
        """A sentence for the voice; `None`: it is not said."""
        changed = await self._run("before_synthesize", text, context)
        return None if changed is None else str(changed)

    async def after_synthesize(self, pcm: bytes, text: str, context: HookContext) -> bytes | None:
        """A chunk of the voice's sound; `None`: it is dropped."""
        return _kept(await self._run("after_synthesize", pcm, text, context), bytes)

    async def _run(self, name: str, value: object, *more: object) -> object:
        hook = self._hook(name)
        if hook is None:
            return value
        return await guarded(name, hook, value, *more, unchanged=value)


def _kept(value: object, kind: type[_T]) -> _T | None:
    return value if isinstance(value, kind) else None


class ModelHooks:
    """What a program does to the model's messages and words. Hooks that fail change nothing."""

    def __init__(self, hooks: PipelineHooks | None, context: Callable[[], HookContext]) -> None:
        """`context` is what hooks are told of the call; asked once for each reply."""
        self._hooks = PipelineHookExecutor(hooks)
        self._context = context

    @property
    def holds_speech(self) -> bool:
        """Whether nothing is said before the whole reply is there."""
        return self._hooks.has("on_response")

    async def messages(self, messages: list[dict[str, object]]) -> Sequence[Mapping[str, object]]:
        """What the model is really sent."""
        if not self._hooks.has("before_llm"):
            return messages
        return await self._hooks.before_llm(messages, self._context())

    def chunk(self, text: str) -> str:
        """A piece of the model's words after `on_chunk`."""
        return self._hooks.on_chunk(text)

    async def response(self, text: str) -> str:
        """The whole reply after `on_response`."""
        return await self._hooks.on_response(text, self._context())
