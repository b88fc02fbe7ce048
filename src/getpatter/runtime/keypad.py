"""Keys that a program asked for: they go to it and nowhere else, so a keyed secret leaves no trace."""

from __future__ import annotations

import asyncio


class KeyEntry:
    """The keys of one `collect_digits`, until there are enough of them."""

    def __init__(self, most: int | None, finish_on: str) -> None:
        """At most `most` keys (`None`: any number), or until one of `finish_on` is pressed."""
        self._most = most
        self._finish_on = finish_on
        self._keys = ""
        self._is_complete = False
        self._pressed = asyncio.Event()

    def press(self, key: str) -> bool:
        """Take a key. False: there were enough, it belongs to the conversation."""
        if self._is_complete:
            return False
        if key in self._finish_on:
            self._is_complete = True
        else:
            self._keys += key
            self._is_complete = self._most is not None and len(self._keys) >= self._most
        self._pressed.set()
        return True

    def give_up(self) -> None:
        """No more keys will come."""
        self._is_complete = True
        self._pressed.set()

    async def keys(self, patience: float) -> str:
        """What was pressed, once it is complete or nothing more came for `patience` seconds."""
        while not self._is_complete:
            self._pressed.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._pressed.wait()
            except TimeoutError:
                break
        return self._keys
