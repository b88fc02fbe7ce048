"""What a language model must be able to do: one stream of chunks for every vendor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

_Kind: TypeAlias = Literal["text", "tool_call", "usage", "done"]
_KINDS: Final[dict[str, _Kind]] = {
    "text": "text",
    "tool_call": "tool_call",
    "usage": "usage",
    "done": "done",
}


@dataclass(frozen=True, slots=True)
class LLMChunk:
    """One piece of a model's answer. Dicts with the same keys are accepted as well."""

    type: _Kind
    content: str = ""
    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""
    """A fragment of JSON; fragments of one `index` are joined."""
    input_tokens: int = 0
    """Read at the full price: those of the cache are counted below and nowhere else."""
    output_tokens: int = 0
    """Written, thinking included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@runtime_checkable
class LLMProvider(Protocol):
    """A language model. Any object with this method will do; `cancel_event` and `call_id` may be missing."""

    def stream(
        self,
        messages: Sequence[Mapping[str, object]],
        tools: Sequence[Mapping[str, object]] | None = None,
    ) -> AsyncIterator[LLMChunk | Mapping[str, object]]:
        """Answer `messages` (OpenAI chat form), chunk by chunk."""
        ...


def as_chunk(raw: object) -> LLMChunk | None:
    """A provider's chunk in our form: a dict, or any object with the same attributes. `None`: not one of ours."""
    if isinstance(raw, LLMChunk):
        return raw
    source = raw if isinstance(raw, Mapping) else None

    def field(name: str, default: object) -> object:
        value = source.get(name, default) if source is not None else getattr(raw, name, default)
        return default if value is None else value

    kind = _KINDS.get(str(field("type", "")))
    if kind is None:
        return None
    return LLMChunk(
        type=kind,
        content=str(field("content", "")),
        index=_count(field("index", 0)),
        id=str(field("id", "")),
        name=str(field("name", "")),
        arguments=str(field("arguments", "")),
        input_tokens=_count(field("input_tokens", 0)),
        output_tokens=_count(field("output_tokens", 0)),
        cache_read_tokens=_count(field("cache_read_tokens", 0)),
        cache_write_tokens=_count(field("cache_write_tokens", 0)),
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0
