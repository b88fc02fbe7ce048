"""How much of a conversation a model is sent: estimated in tokens, trimmed from its oldest end.

A tool call and its results are one unit, because a model refuses a conversation in which one is without the other:

```
system  | user | assistant | [assistant: calls + tool + tool] | assistant | user
  kept  | oldest first ...                                        kept: the newest words of the caller and after
```
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

LETTERS_PER_TOKEN: Final = 4
"""Of English text, about; other languages have fewer, so that the estimate errs towards less being sent."""
TOKENS_PER_MESSAGE: Final = 4
"""What the form of a message costs."""

Message = Mapping[str, object]
_M = TypeVar("_M", bound=Message)


def tokens_of(messages: Sequence[Message]) -> int:
    """An estimate of what `messages` cost a model to read."""
    return sum(_tokens(each) for each in messages)


def _tokens(message: Message) -> int:
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    if content is not None and not isinstance(content, str):
        text = json.dumps(content, default=str)
    calls = message.get("tool_calls")
    if calls:
        text += json.dumps(calls, default=str)
    return TOKENS_PER_MESSAGE + -(-len(text.encode()) // LETTERS_PER_TOKEN)


def units(messages: Sequence[_M]) -> list[list[_M]]:
    """`messages` in pieces that belong together: a message alone, or tool calls with their results."""
    found: list[list[_M]] = []
    for message in messages:
        if message.get("role") == "tool" and found:
            found[-1].append(message)
        else:
            found.append([message])
    return found


def within(messages: Sequence[_M], budget: int) -> list[_M]:
    """`messages` without the oldest units, so that they fit into `budget` tokens.

    The instructions before the conversation stay, and so do the newest words of the caller and what follows them:
    a budget that is too small for those is exceeded.
    """
    pieces = units(messages)
    head = 0
    while head < len(pieces) and pieces[head][0].get("role") == "system":
        head += 1
    newest = max(
        (index for index, unit in enumerate(pieces) if unit[0].get("role") == "user"),
        default=len(pieces) - 1,
    )
    total = tokens_of(messages)
    first = head
    while total > budget and first < newest:
        total -= tokens_of(pieces[first])
        first += 1
    return [each for unit in (*pieces[:head], *pieces[first:]) for each in unit]
