"""`EmbeddedServer`: the server of one agent, from a `LocalConfig`; `serve()` without the façade."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from getpatter import config as settings
from getpatter.carriers import carrier_of
from getpatter.config import LocalConfig
from getpatter.runtime.local_recording import RecordingPlace
from getpatter.server.phone import PhoneServer, Serving

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from getpatter.agent import Agent

Callback = Callable[..., object]


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
        on_message: Callback | None = None,
        on_metrics: Callback | None = None,
        manage_webhook: bool = True,
        max_call_duration: int = 3600,
        max_concurrent_calls: int | None = None,
        idle_timeout: float | None = None,
        local_recording: bool | str | Path = False,
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
            on_message: See there.
            on_metrics: See there.
            manage_webhook: Set the carrier's webhook at start.
            max_call_duration: Seconds, 1 to 14400.
            max_concurrent_calls: Above it callers get a busy signal.
            idle_timeout: Seconds without speech before a polite hang-up.
            local_recording: Keep a stereo WAV of each call: `True`, or the directory for them.

        Raises:
            ValueError: the carrier is unknown, or a directory is an empty text.
            TypeError: `local_recording` is neither a bool nor a directory.
        """
        self.config = config
        self.agent = agent
        self.recording = recording
        self.voicemail_message = voicemail_message
        self.pricing = pricing
        self.dashboard = dashboard
        self.dashboard_token = dashboard_token
        self._manages_webhook = manage_webhook
        root = Path(config.persist_root).expanduser() if config.persist_root else None
        self._phone = PhoneServer(
            Serving(
                agent=agent,
                host=config.webhook_url,
                phone_number=config.phone_number,
                recording=recording,
                voicemail_message=voicemail_message,
                on_call_start=on_call_start,
                on_call_end=on_call_end,
                on_transcript=on_transcript,
                on_message=on_message,
                on_metrics=on_metrics,
                require_signature=config.require_signature,
                trusted_proxies=config.trusted_proxies,
                max_call_duration=max_call_duration,
                max_concurrent_calls=max_concurrent_calls,
                idle_timeout=idle_timeout,
                local_recording=RecordingPlace.of(local_recording, root),
                persist_root=root,
                dashboard=dashboard,
                dashboard_token=dashboard_token,
            ),
            carrier_of(config),
        )

    @property
    def app(self) -> ASGIApp:
        """The ASGI application, for mounting in another server; call `stop()` when that one ends."""
        return self._phone

    async def start(self, port: int = 8000) -> None:
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
