"""`Patter`: the object a program talks to. It checks what it is given and hands the work on."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import threading
import warnings
from collections.abc import Awaitable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from getpatter import config
from getpatter.agent import Agent, build_agent
from getpatter.carriers import KINDS
from getpatter.checks import (
    check_agent,
    check_callable,
    check_number,
    check_placing,
    check_serving,
    checked_bool,
)
from getpatter.errors import PatterConnectionError, PatterDeprecationWarning, PatterError
from getpatter.events import Callback, SpeechCallback
from getpatter.makers import answerable, standard_makers
from getpatter.observability.event_bus import EventBus
from getpatter.older import carrier_and_keys, modern
from getpatter.pricing import merge_pricing
from getpatter.runtime.hosts import checked_host
from getpatter.runtime.local_recording import RecordingPlace
from getpatter.runtime.milestone import Milestone
from getpatter.tools import guardrail, tool
from getpatter.tunnels import Static, Tunnel, keep_up, tunnel_of
from getpatter.types import masked

if TYPE_CHECKING:
    from getpatter.carriers.base import Carrier
    from getpatter.models import CallResult
    from getpatter.runtime.clerk import CallStore
    from getpatter.server.phone import PhoneServer

logger = logging.getLogger(__name__)

_READY_WITHIN: Final = 60.0
_OUTCOME_SLACK: Final = 60.0


class Patter:
    """A phone number with an agent behind it.

    ```python
    phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="abc.ngrok.io")
    agent = phone.agent(system_prompt="...", stt=..., llm=..., tts=...)
    await phone.serve(agent)
    ```
    """

    tool = staticmethod(tool)
    guardrail = staticmethod(guardrail)

    def __init__(  # noqa: PLR0913 - the documented parameters
        self,
        carrier: Carrier | None = None,
        phone_number: str = "",
        webhook_url: str = "",
        tunnel: object = None,
        pricing: Mapping[str, Mapping[str, object]] | None = None,
        persist: bool | str | Path | None = None,  # noqa: FBT001 - documented
        *,
        require_signature: bool = True,
        trusted_proxies: Iterable[str] = (),
        allow_private_urls: bool = False,
        telemetry: object = None,
        **older: Any,
    ) -> None:
        """Describe the phone. Nothing is opened.

        Args:
            carrier: A `Twilio`, `Telnyx` or `Plivo`; `None` is enough for `test()`.
            phone_number: Our number, E.164 (`+15550001234`).
            webhook_url: Bare public host name at which the carrier reaches this machine.
            tunnel: `True` or a tunnel object, instead of `webhook_url`.
            pricing: Overrides of the price table.
            persist: Where calls are kept on disk: `False` nowhere, `True` the platform's directory, a path.
            require_signature: `False` lets webhooks of a carrier without credentials through.
            trusted_proxies: Addresses or networks whose forwarding headers count.
            allow_private_urls: Let tools reach the private network.
            telemetry: Accepted and ignored: there is none.
            older: Credentials as flat keywords (`twilio_sid=`, `openai_key=`, ...), which still work.

        Raises:
            TypeError: `carrier` is no carrier, or an option has the wrong type.
            ValueError: `phone_number` or `webhook_url` is malformed, or options exclude each other.
            NotImplementedError: an option of a hosted service.
        """
        del telemetry
        older = modern(older)
        phone_number = phone_number or older.get("phone_number", "")
        webhook_url = webhook_url or older.get("webhook_url", "")
        carrier, self._keys = carrier_and_keys(_checked_carrier(carrier), older)
        self._carrier = carrier
        if carrier is not None or phone_number:
            check_number(phone_number, "phone_number")
        self._phone_number = phone_number
        self._webhook_url = checked_host(webhook_url)
        self._tunnel = tunnel_of(tunnel)
        if self._tunnel is not None:
            _check_one_way(self._tunnel, self._webhook_url)
        merge_pricing(pricing)  # finds mistakes now
        self._pricing = pricing
        self._persist_root = config.persist_root(persist)
        self._require_signature = checked_bool(require_signature, "require_signature")
        self._trusted_proxies = tuple(trusted_proxies)
        self._allow_private_urls = checked_bool(allow_private_urls, "allow_private_urls")
        self._ready: Milestone[str] = Milestone("ready")
        self._tunnel_ready: Milestone[str] = Milestone("tunnel_ready")
        self._server: PhoneServer | None = None
        self._is_serving = False
        self.events = EventBus()
        """What happens on all calls, for whoever wants to listen."""
        self.speech: dict[str, Callback] = {}
        """The speech callbacks that are set, by name."""

    on_user_speech_started = SpeechCallback()
    on_user_speech_ended = SpeechCallback()
    on_user_speech_eos = SpeechCallback()
    on_agent_speech_started = SpeechCallback()
    on_agent_speech_ended = SpeechCallback()
    on_llm_token = SpeechCallback()
    on_audio_out = SpeechCallback()

    def __repr__(self) -> str:
        carrier = self._carrier.name if self._carrier is not None else None
        return f"Patter(carrier={carrier!r}, phone_number={masked(self._phone_number)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    # ----------------------------------------------------------------------------------- agents

    def agent(self, system_prompt: str, **options: Any) -> Agent:
        """Declare an agent; see `Agent` for the options.

        Raises:
            ValueError: options conflict, are out of range, or a credential is missing.
            TypeError: an option is unknown or has the wrong type.
        """
        makers = dataclasses.replace(standard_makers(self._keys), judge_url=self._judge_url)
        return build_agent(system_prompt, makers, **options)

    # ---------------------------------------------------------------------------------- serving

    @property
    def ready(self) -> Awaitable[str]:
        """Gives the public host name once calls can come in and go out; raises what made `serve()` fail."""
        return self._ready

    @property
    def is_serving(self) -> bool:
        """Whether `serve()` runs; `ready` tells when it can take calls."""
        return self._is_serving

    @property
    def tunnel_ready(self) -> Awaitable[str]:
        """Gives the public host name as soon as it is known."""
        return self._tunnel_ready

    async def serve(  # noqa: PLR0913, PLR0917 - the documented parameters
        self,
        agent: Agent,
        port: int = 8000,
        recording: bool = False,  # noqa: FBT001, FBT002 - documented
        on_call_start: Callback | None = None,
        on_call_end: Callback | None = None,
        on_transcript: Callback | None = None,
        on_message: Callback | str | None = None,
        voicemail_message: str = "",
        on_metrics: Callback | None = None,
        dashboard: bool = True,  # noqa: FBT001, FBT002 - documented
        dashboard_token: str = "",
        tunnel: object = False,  # noqa: FBT002 - documented
        *,
        pricing: Mapping[str, Mapping[str, object]] | None = None,
        manage_webhook: bool = True,
        require_signature: bool | None = None,
        max_call_duration: int = 3600,
        max_concurrent_calls: int | None = None,
        idle_timeout: float | None = None,
        local_recording: bool | str | Path = False,
        allow_insecure_dashboard: bool = False,
        webhook_secret: str = "",
        store: object | None = None,
        flight_recorder: str | Path | None = None,
    ) -> None:
        """Answer calls until `disconnect()`, a signal, or cancellation.

        Order: validate, tunnel, `tunnel_ready`, listen, point the carrier at us, `ready`, wait.

        Args:
            agent: Answers calls that name no other agent.
            port: TCP port, 1 to 65535.
            recording: Have the carrier record every call.
            on_call_start: Called when media is connected; a returned dict changes this call's settings.
            on_call_end: Called once per call that started.
            on_transcript: Called for each utterance of either side.
            on_message: Writes the replies of a pipeline agent: a function, or an `http(s)` or `ws(s)` URL.
            voicemail_message: Left on answering machines by outbound calls that bring none of their own.
            on_metrics: Called after each turn.
            dashboard: Serve the dashboard.
            dashboard_token: Password of the dashboard.
            tunnel: As in the constructor; `False` keeps the constructor's choice.
            pricing: Overrides of the price table, merged last.
            manage_webhook: Set the carrier's webhook at start.
            require_signature: `None` keeps the constructor's choice.
            max_call_duration: Seconds, 1 to 14400.
            max_concurrent_calls: Above it callers get a busy signal.
            idle_timeout: Seconds without speech from either side before a polite hang-up.
            local_recording: Keep a stereo WAV of each call: `True`, or the directory for them.
            allow_insecure_dashboard: Serve the dashboard to anybody.
            webhook_secret: Signs requests to a remote `on_message`.
            store: A store of call records of your own.
            flight_recorder: Directory for flight recordings (they hold everything that is said).

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument is out of range, arguments exclude each other, or something is missing.
            PatterConnectionError: the port is in use, or the tunnel did not come up.
            PatterError: this phone is serving already.
        """
        if self._is_serving:
            raise PatterError("serve() is already running on this Patter; disconnect() first")
        self._is_serving = True
        if self._ready.is_settled:
            self._renew()
        try:
            check_serving(locals())
            if isinstance(on_message, str):
                self._judge_url(on_message, ("http", "https", "ws", "wss"))
            carrier = _needed(self._carrier)
            way_in = self._way_in(tunnel)
            agent = answerable(agent, on_message, self._keys)
            await self._run(
                carrier,
                way_in,
                port=port,
                manage_webhook=manage_webhook or way_in.is_started_here,
                agent=agent,
                tunnel_header=way_in.client_header,
                phone_number=self._phone_number,
                recording=recording,
                voicemail_message=voicemail_message,
                on_call_start=on_call_start,
                on_call_end=on_call_end,
                on_transcript=on_transcript,
                on_message=on_message if agent.mode == "pipeline" else None,
                on_metrics=on_metrics,
                webhook_secret=webhook_secret,
                allow_private_urls=self._allow_private_urls,
                require_signature=(
                    self._require_signature if require_signature is None else require_signature
                ),
                trusted_proxies=self._trusted_proxies,
                max_call_duration=max_call_duration,
                max_concurrent_calls=max_concurrent_calls,
                idle_timeout=idle_timeout,
                local_recording=RecordingPlace.of(local_recording, self._persist_root),
                flight_recorder=Path(flight_recorder) if flight_recorder is not None else None,
                pricing=merge_pricing(self._pricing, pricing),
                persist_root=self._persist_root,
                store=store,
                speech=self.speech,
                dashboard=dashboard,
                dashboard_token=dashboard_token,
                allow_insecure_dashboard=allow_insecure_dashboard,
            )
        except BaseException as error:
            self._tunnel_ready.miss(error)
            self._ready.miss(error)
            raise
        finally:
            self._is_serving = False
            self._server = None

    async def _run(
        self,
        carrier: Carrier,
        way_in: Tunnel,
        *,
        port: int,
        manage_webhook: bool,
        **serving: Any,
    ) -> None:
        from getpatter.server.phone import PhoneServer, Serving  # noqa: PLC0415 - loads the server

        try:
            host = await way_in.start(port)
            self._tunnel_ready.reach(host)
            server = PhoneServer(Serving(host=host, **serving), carrier, bus=self.events)
            await self._listen(server, way_in, port=port, manage_webhook=manage_webhook)
        finally:
            await way_in.stop()

    async def _listen(
        self, server: PhoneServer, way_in: Tunnel, *, port: int, manage_webhook: bool
    ) -> None:
        self._server = server
        with _Signals(server):
            try:
                bound = await server.listen(port, bind_host=config.bind_host())
                logger.info("phone.listening port=%d", bound)
                if manage_webhook:
                    await server.point_number()
                self._ready.reach(server.serving.host)
                server.beside(keep_up(way_in, port, self._moved), name="tunnel")
                await server.closed()
            finally:
                await server.stop()

    def _judge_url(self, url: str, schemes: tuple[str, ...] = ("http", "https")) -> None:
        from getpatter.net.addresses import judge_url  # noqa: PLC0415 - loads sockets

        judge_url(url, schemes=schemes, allow_private=self._allow_private_urls)

    def _way_in(self, tunnel: object) -> Tunnel:
        """How the carrier reaches this machine."""
        chosen = tunnel_of(tunnel) or self._tunnel
        if chosen is None:
            if not self._webhook_url:
                raise ValueError(
                    "the carrier must reach this machine: pass Patter(webhook_url='abc.ngrok.io') with "
                    "a tunnel of your own, or tunnel=True"
                )
            return Static(hostname=self._webhook_url)
        _check_one_way(chosen, self._webhook_url)
        return chosen

    async def _moved(self, host: str) -> None:
        """The tunnel was started again, and has this name now."""
        if self._server is not None:
            await self._server.move(host)
        self._tunnel_ready.change(host)
        self._ready.change(host)

    async def test(
        self,
        agent: Agent,
        on_message: Callback | str | None = None,
        on_call_start: Callback | None = None,
        on_call_end: Callback | None = None,
    ) -> None:
        """Talk to an agent in the terminal: prompt, tools, guardrails and hooks, no phone, recogniser or voice.

        `/quit`, `/hangup`, `/transfer <number>` and `/history` are commands; Ctrl-C hangs up. An engine's agent
        is driven by a text model of the same vendor. Nothing listens on a port, and no carrier is needed.

        Args:
            agent: Who talks.
            on_message: Writes the replies instead of the agent's model.
            on_call_start: As in `serve()`.
            on_call_end: As in `serve()`.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: nobody can write the replies, or two could.
        """
        check_agent(agent)
        for name, value in (("on_call_start", on_call_start), ("on_call_end", on_call_end)):
            check_callable(value, name)
        if isinstance(on_message, str):
            self._judge_url(on_message, ("http", "https", "ws", "wss"))
        else:
            check_callable(on_message, "on_message")
        if on_message is not None and agent.llm is not None:
            raise ValueError("agent.llm and on_message exclude each other: who shall answer?")
        from getpatter.test_mode import TestSession  # noqa: PLC0415 - loads the whole of a call

        await TestSession(
            agent,
            on_message,
            on_call_start,
            on_call_end,
            keys=self._keys,
            allow_private_urls=self._allow_private_urls,
            bus=self.events,
        ).run()

    # ---------------------------------------------------------------------------------- calling

    async def call(  # noqa: PLR0913, PLR0917 - the documented parameters
        self,
        to: str,
        agent: Agent | None = None,
        first_message: str = "",
        from_number: str = "",
        machine_detection: bool = True,  # noqa: FBT001, FBT002 - documented
        on_machine_detection: Callback | None = None,
        voicemail_message: str = "",
        ring_timeout: int | None = 25,
        wait: bool = False,  # noqa: FBT001, FBT002 - documented
        *,
        max_call_duration: int | None = None,
        variables: Mapping[str, object] | None = None,
        recording: bool | None = None,
        on_machine: Callback | None = None,
    ) -> CallResult | None:
        """Ring somebody. Everything given here belongs to this call alone.

        Args:
            to: Whom to ring, E.164.
            agent: Who talks; `None` is the served agent.
            first_message: Said when the callee answers, instead of the agent's own.
            from_number: Caller id; empty is the configured number.
            machine_detection: Have the carrier find out whether a machine answers.
            on_machine_detection: Told once what the carrier found.
            voicemail_message: Left on an answering machine; switches detection on.
            ring_timeout: Seconds, 1 to 600; `None` leaves it to the carrier.
            wait: Return a `CallResult` when the call is over.
            max_call_duration: Seconds; `None` is the server's value.
            variables: Placeholders, merged over the agent's.
            recording: Have the carrier record this call; `None` is the server's choice.
            on_machine: Older form of `on_machine_detection`; it gets a dict.

        Returns:
            `None` once the carrier accepted the call; with `wait`, what became of it.

        Raises:
            ValueError: a number or a time is wrong.
            TypeError: an argument has the wrong type.
            AuthenticationError: the carrier refused the credentials.
            RateLimitError: the carrier, or `max_concurrent_calls`, allows no more calls now.
            PatterConnectionError: nothing is serving, or the carrier refused the call.
            TimeoutError: `wait`, and the call did not end in time.
        """
        if on_machine is not None:
            warnings.warn(
                "call(on_machine=...) is now call(on_machine_detection=...)",
                PatterDeprecationWarning,
                stacklevel=2,
            )
        check_number(to, "to")
        sender = from_number or self._phone_number
        check_number(sender, "from_number")
        check_placing(locals())
        carrier = _needed(self._carrier)
        server = await self._serving()
        placed = await server.place(
            carrier,
            agent=(
                agent if agent is None else answerable(agent, server.serving.on_message, self._keys)
            ),
            to=to,
            from_number=sender,
            first_message=first_message,
            voicemail_message=voicemail_message,
            detects_machines=machine_detection,
            on_machine_detection=on_machine_detection,
            on_machine=on_machine,
            ring_timeout=ring_timeout,
            max_call_duration=max_call_duration,
            variables=dict(variables or {}),
            recording=recording,
        )
        if not wait:
            return None
        limit = server.serving.max_call_duration if max_call_duration is None else max_call_duration
        async with asyncio.timeout((ring_timeout or 600) + limit + _OUTCOME_SLACK):
            await placed.line.settled()
        return placed.result()

    @property
    def metrics_store(self) -> CallStore | None:
        """The records of all calls while `serve()` runs."""
        return self._server.store if self._server is not None else None

    def conversation_state(self, call_id: str) -> dict[str, object] | None:
        """Who speaks in a running call, and in which turn it is; `None` for a call that is not running."""
        return self._server.conversation_state(call_id) if self._server is not None else None

    async def end_call(self, call_id: str) -> None:
        """Hang a call up by the carrier's API. A call that is unknown or over: nothing happens."""
        if self._server is not None:
            await self._server.end_call(call_id)

    async def _serving(self) -> PhoneServer:
        if not self._is_serving:
            raise PatterConnectionError("nothing is serving: run serve() first, then await ready")
        async with asyncio.timeout(_READY_WITHIN):
            await self._ready
        if self._server is None:
            raise PatterConnectionError("the server has stopped")
        return self._server

    def _renew(self) -> None:
        self._ready = Milestone("ready")
        self._tunnel_ready = Milestone("tunnel_ready")

    async def disconnect(self) -> None:
        """Stop serving: hang up every call, close every socket, let every `on_call_end` finish. Idempotent."""
        server = self._server
        if server is not None:
            await server.stop()
        self._renew()


class _Signals:
    """SIGINT and SIGTERM end the server in order, where the program has not claimed them itself."""

    def __init__(self, server: PhoneServer) -> None:
        self._server = server
        self._installed: list[signal.Signals] = []

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
                try:
                    loop.add_signal_handler(number, self._stop)
                except NotImplementedError:  # Windows: Ctrl-C cancels the main task instead
                    return
                self._installed.append(number)

    def _stop(self) -> None:
        self._server.ask_to_stop()

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in self._installed:
            loop.remove_signal_handler(number)


def _checked_carrier(carrier: object) -> Any:
    if carrier is None or getattr(carrier, "name", None) in KINDS:
        return carrier
    raise TypeError(
        f"carrier must be a Twilio(), Telnyx() or Plivo() object, not {type(carrier).__name__}"
    )


def _needed(carrier: Carrier | None) -> Carrier:
    if carrier is None:
        raise ValueError("serve() needs a carrier: Patter(carrier=Twilio(), ...)")
    return carrier


def _check_one_way(tunnel: Tunnel, webhook_url: str) -> None:
    if webhook_url and tunnel.hostname != webhook_url:
        raise ValueError("webhook_url and tunnel exclude each other: pass one of them")
