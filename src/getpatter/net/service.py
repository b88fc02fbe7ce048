"""What the objects for a vendor's service have in common: a key, options, and connections shared by all calls.

An object that a program makes is configuration. Every call works with a `clone()` of it, which has a stream of
its own but shares the pool of HTTP connections and the sockets that were opened in advance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self, TypeVar, cast
from weakref import WeakSet

import msgspec

from getpatter.config import credential
from getpatter.errors import WireError
from getpatter.net.http import HttpClient
from getpatter.net.warm import WarmSockets
from getpatter.types import DefaultStr, shown_url

_T = TypeVar("_T")

_LONGEST_ANSWER: Final = 4 * 1024 * 1024


class Connections:
    """The connections of one object and all of its clones; none is made before it is needed."""

    def __init__(self, vendor: str) -> None:
        """`vendor` is named in errors."""
        self.http = HttpClient(vendor, max_body=_LONGEST_ANSWER, total_timeout=30.0)
        self.sockets = WarmSockets()
        self.users: WeakSet[Service] = WeakSet()

    async def left_by(self, user: Service) -> None:
        """`user` is closed. The last one closes what no stream owns."""
        self.users.discard(user)
        if not self.users:
            await self.aclose()

    async def aclose(self) -> None:
        """Close what no stream owns. Idempotent; a later use opens anew."""
        sockets, self.sockets = self.sockets, WarmSockets()
        await sockets.aclose()
        await self.http.aclose()


class Service:
    """An object for one service of one vendor. Its key shows in no `repr` and in no pickle."""

    provider_key: ClassVar[str] = ""
    """Key of the price table."""
    vendor: ClassVar[str] = ""
    """Who is named in errors."""
    key_variable: ClassVar[str] = ""
    """The environment variable of its key."""

    agent_settings: ClassVar[Mapping[str, str]] = {}
    """Which of an agent's `language`, `voice` and `model` it can be given, and its own option for it."""
    languages: ClassVar[Literal["tag", "language"]] = "language"
    """How it writes a language: `it-IT`, or `it`."""

    def __init__(self, api_key: str | None, options: Mapping[str, object]) -> None:
        """Take the key and the keyword arguments of the constructor.

        Raises:
            ValueError: no key was given, and the environment has none.
        """
        self._key = credential(self.key_variable, api_key, owner=type(self).__name__)
        self._options = dict(options)
        self._connections = Connections(self.vendor)
        self._connections.users.add(self)
        self._is_original = True
        self._renew()

    def _renew(self) -> None:
        """Begin without a stream."""

    def _set(self, **options: object) -> None:
        """Remember options as they are now, for `repr` and pickles."""
        self._options.update(options)

    def clone(self) -> Self:
        """The same configuration for one more call."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._options = dict(self._options)
        twin._connections.users.add(twin)
        twin._is_original = False
        twin._renew()
        return twin

    def with_agent(self, named: Mapping[str, str]) -> Self:
        """The same for one more call, with those of an agent's settings that the program did not name here.

        Args:
            named: Of `language` (BCP-47), `voice` and `model`, those that are to be used. A `DefaultStr` is the
                agent's own default: it takes no place that was left to the vendor.
        """
        options = dict(self._options)
        for setting, option in self.agent_settings.items():
            value, now = named.get(setting, ""), options.get(option)
            is_left = now is None and not isinstance(value, DefaultStr)
            if value and (is_left or isinstance(now, DefaultStr)):
                options[option] = (
                    _written(self.languages, value) if setting == "language" else value
                )
        if options == self._options:
            return self.clone()
        make: type = type(self)
        twin = make(api_key=self._key, **options)
        twin._join(self)  # noqa: SLF001 - one of us
        return cast("Self", twin)

    def _join(self, other: Service) -> None:
        self._connections = other._connections
        self._connections.users.add(self)
        self._is_original = False

    def __repr__(self) -> str:
        options = {
            name: shown_url(value) if name.endswith("_url") and isinstance(value, str) else value
            for name, value in self._options.items()
        }
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[object, ...]:
        """Without the key: whoever unpickles it needs one in the environment."""
        return _made_again, (type(self), self._options)

    async def _release(self) -> None:
        """Give back the shared connections. The object that the program made closes them for its clones too."""
        if self._is_original:
            await self._connections.aclose()
        else:
            await self._connections.left_by(self)


def _written(form: str, tag: str) -> str:
    return str(tag) if form == "tag" else tag.replace("_", "-").split("-")[0].lower()


def _made_again(kind: type[Service], options: Mapping[str, object]) -> Service:
    make: type = kind
    made = make(**options)
    assert isinstance(made, Service)
    return made


def decoded(decoder: msgspec.json.Decoder[_T], message: str | bytes, vendor: str) -> _T:
    """`message` as the type of `decoder`.

    Raises:
        WireError: it is something else.
    """
    try:
        return decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(
            f"{vendor} sent a message of no known form: {error}", vendor=vendor
        ) from error


def encoded(message: Mapping[str, object]) -> str:
    """`message` as the JSON text of one frame."""
    return msgspec.json.encode(message).decode()
