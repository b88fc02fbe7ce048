"""`EmbeddedServer`: the server of one agent, from a `LocalConfig`; `serve()` without the façade."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from getpatter import config as settings
from getpatter.carriers import carrier_of
from getpatter.checks import check_serving, checked_bool
from getpatter.config import LocalConfig
from getpatter.makers import answerable
from getpatter.net.addresses import judge_url
from getpatter.observability.event_bus import EventBus
from getpatter.pricing import merge_pricing
from getpatter.runtime.local_recording import RecordingPlace
from getpatter.server.phone import PhoneServer, Serving

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from getpatter.agent import Agent
    from getpatter.runtime.clerk import CallStore

Callback = Callable[..., object]
_DEFAULT_PORT: Final = 8000


class EmbeddedServer:
    """Serves the calls of one agent. Most programs want `Patter.serve()` instead.

    `start()` runs it on a port of its own; `app` mounts it in another ASGI server.
    """

    def __init__(  # noqa: PLR0913 - the documented parameters
        self,
        config: LocalConfig,
        agent: Agent,
        recording: bool = False,  # noqa: FBT001, FBT002 - documented
        voicemail_message: str = "",
        *,
        pricing: Mapping[str, Mapping[str, object]] | None = None,
        dashboard: bool = True,
        dashboard_token: str = "",
        on_call_start: Callback | None = None,
        on_call_end: Callback | None = None,
        on_transcript: Callback | None = None,
        on_message: Callback | str | None = None,
        on_metrics: Callback | None = None,
        manage_webhook: bool = True,
        require_signature: bool | None = None,
        max_call_duration: int = 3600,
        max_concurrent_calls: int | None = None,
        idle_timeout: float | None = None,
        local_recording: bool | str | Path = False,
        allow_insecure_dashboard: bool = False,
        webhook_secret: str = "",
        store: CallStore | None = None,
        flight_recorder: str | Path | None = None,
        allow_private_urls: bool = False,
    ) -> None:
        """Prepare a server. Nothing is opened.

        Args:
            config: Carrier, credentials and address.
            agent: Answers every call.
            recording: Have the carrier record every call.
            voicemail_message: Left on answering machines by outbound calls that bring none of their own.
            pricing: Overrides of the price table.
            dashboard: Serve the dashboard.
            dashboard_token: Password of the dashboard.
            on_call_start: As in `Patter.serve`; so are the other callbacks and limits.
            on_call_end: See there.
            on_transcript: See there.
            on_message: See there: a function, or an `http(s)` or `ws(s)` URL.
            on_metrics: See there.
            manage_webhook: Set the carrier's webhook at start.
            require_signature: `None` keeps the choice of `config`.
            max_call_duration: Seconds, 1 to 14400.
            max_concurrent_calls: Above it callers get a busy signal.
            idle_timeout: Seconds without speech before a polite hang-up.
            local_recording: Keep a stereo WAV of each call: `True`, or the directory for them.
            allow_insecure_dashboard: Serve the dashboard to anybody.
            webhook_secret: Signs requests to a remote `on_message`.
            store: A store of call records of your own.
            flight_recorder: Directory for flight recordings (they hold everything that is said).
            allow_private_urls: Let tools and a remote `on_message` reach the private network.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the carrier is unknown, an argument is out of range, arguments exclude each other, or
                nobody can write the replies.
        """
        check_serving({**locals(), "port": _DEFAULT_PORT})
        checked_bool(allow_private_urls, "allow_private_urls")
        if isinstance(on_message, str):
            schemes = ("http", "https", "ws", "wss")
            judge_url(on_message, schemes=schemes, allow_private=allow_private_urls)
        self.config = config
        self.agent = agent
        self.recording = recording
        self.voicemail_message = voicemail_message
        self.pricing = pricing
        self.dashboard = dashboard
        self.dashboard_token = dashboard_token
        self.events = EventBus()
        """What happens on all calls, as in `Patter.events`."""
        self.speech: dict[str, Callback] = {}
        """Speech callbacks by name (`on_user_speech_started`, ...), as the attributes of `Patter`."""
        self._manages_webhook = manage_webhook
        root = Path(config.persist_root).expanduser() if config.persist_root else None
        self._phone = PhoneServer(
            Serving(
                agent=answerable(agent, on_message, _keys(config)),
                host=config.webhook_url,
                phone_number=config.phone_number,
                recording=recording,
                voicemail_message=voicemail_message,
                on_call_start=on_call_start,
                on_call_end=on_call_end,
                on_transcript=on_transcript,
                on_message=on_message if agent.mode == "pipeline" else None,
                on_metrics=on_metrics,
                webhook_secret=webhook_secret,
                allow_private_urls=allow_private_urls,
                require_signature=(
                    config.require_signature if require_signature is None else require_signature
                ),
                trusted_proxies=config.trusted_proxies,
                max_call_duration=max_call_duration,
                max_concurrent_calls=max_concurrent_calls,
                idle_timeout=idle_timeout,
                flight_recorder=Path(flight_recorder) if flight_recorder is not None else None,
                local_recording=RecordingPlace.of(local_recording, root),
                pricing=merge_pricing(pricing),
                persist_root=root,
                store=store,
                speech=self.speech,
                dashboard=dashboard,
                dashboard_token=dashboard_token,
                allow_insecure_dashboard=allow_insecure_dashboard,
            ),
            carrier_of(config),
            bus=self.events,
        )

    @property
    def app(self) -> ASGIApp:
        """The ASGI application, for mounting in another server; call `stop()` when that one ends."""
        return self._phone

    async def start(self, port: int = _DEFAULT_PORT) -> None:
        """Serve on `port` until `stop()`.

        Raises:
            PatterConnectionError: the port is in use.
        """
        try:
            await self._phone.listen(port, bind_host=settings.bind_host())
            if self._manages_webhook and self.config.phone_number:
                await self._phone.point_number()
            await self._phone.closed()
        finally:
            await self._phone.stop()

    async def stop(self) -> None:
        """Hang up every call, close every socket, let every `on_call_end` finish. Idempotent."""
        await self._phone.stop()


def _keys(config: LocalConfig) -> Mapping[str, str]:
    """The provider keys, by the names that they have there."""
    names = [each.name for each in fields(config) if each.name.endswith("_key")]
    return {name: getattr(config, name) for name in names}
