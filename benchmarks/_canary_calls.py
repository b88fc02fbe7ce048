"""The calls in which the canaries are spoken, keyed, sent, refused and quoted back: each with real fakes of vendors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec

from benchmarks import _canary as c
from benchmarks._canary import Haul, Place
from benchmarks._forge import Request, send_raw
from benchmarks._stage import (
    CALLER,
    HOST,
    OURS,
    THEIRS,
    THIRD,
    MissedError,
    Stage,
    Ways,
    must,
    playing,
)
from getpatter import (
    DeepgramSTT,
    ElevenLabsRestTTS,
    OpenAILLM,
    OpenAIRealtime,
    Patter,
    Tool,
)
from getpatter.config import LocalConfig
from getpatter.errors import PatterError
from getpatter.events import PatterEventType
from getpatter.runtime.control import CallControl
from getpatter.runtime.recorder import FlightRecorder
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Caller, babble, hang_up, listen, press, say, wait
from getpatter.testing.fake_llm import Calls, Says
from getpatter.testing.fake_llm_chat import FakeOpenAI
from getpatter.testing.fake_realtime import Calls as EngineCalls
from getpatter.testing.fake_realtime import FakeRealtime
from getpatter.testing.fake_realtime import Says as EngineSays
from getpatter.testing.fake_speech import Answer, Call, FakeService, Refusal
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_elevenlabs import FakeElevenLabs

CARD: Final = f"My card is {c.SPOKEN.text}."
SCHEMA: Final = {"type": "object", "properties": {"card": {"type": "string"}}}
ACCOUNTS: Final[Mapping[str, str]] = {
    "twilio": "auth_token", "telnyx": "api_key", "plivo": "auth_token",
}  # fmt: skip


# ----------------------------------------------------------------------------------------- the services


class Web(FakeService):
    """A server of the user's own: a tool's webhook, and replies to turns."""

    def may_enter(self, call: Call) -> Refusal | None:
        """Whoever comes."""
        del call
        return None

    async def http(self, call: Call, answer: Answer) -> None:
        """Say that all is well, in as many words of the question as possible."""
        asked = call.json if call.body else {}
        said = {"text": f"You said {asked.get('text', '')}", "result": asked.get("arguments")}
        await answer.whole(
            Refusal(200, msgspec.json.encode(said), {"content-type": "application/json"})
        )


@dataclass(frozen=True)
class Services:
    """The vendors of one scene, each with its key."""

    ear: FakeDeepgram
    model: FakeOpenAI
    voice: FakeElevenLabs
    engine: FakeRealtime
    web: Web

    def pipeline(self, **options: Any) -> dict[str, Any]:
        """Parts of an agent."""
        return {
            "stt": DeepgramSTT(c.EAR.text, base_url=self.ear.ws_url),
            "llm": OpenAILLM(c.MODEL.text, base_url=self.model.base_url),
            "tts": ElevenLabsRestTTS(c.VOICE.text, base_url=self.voice.url),
        } | options

    def duplex(self, key: str = c.ENGINE.text) -> dict[str, Any]:
        """The same with an engine."""
        engine = OpenAIRealtime(key, base_url=self.engine.url)
        return {"engine": engine, "stt": None, "llm": None, "tts": None}


@asynccontextmanager
async def services(*script: Says, heard: tuple[str, ...] = (CARD, "Thank you.")) -> Any:
    """Open them all."""
    async with AsyncExitStack() as stack:
        yield Services(
            await stack.enter_async_context(FakeDeepgram(heard, key=c.EAR.text)),
            await stack.enter_async_context(FakeOpenAI(script, key=c.MODEL.text)),
            await stack.enter_async_context(FakeElevenLabs(key=c.VOICE.text)),
            await stack.enter_async_context(
                FakeRealtime(
                    heard=heard,
                    says=[
                        EngineCalls([("take_card", {"card": c.SPOKEN.text})]),
                        EngineSays(f"Your card is {c.SPOKEN.text}."),
                        EngineSays("Goodbye."),
                    ],
                    key=c.ENGINE.text,
                )
            ),
            await stack.enter_async_context(Web()),
        )


def tools(web: Web, keyed: list[str]) -> list[Tool]:
    """One that asks for keys, one on the web, and one that fails and quotes."""

    async def take_card(arguments: dict[str, Any], ctx: dict[str, Any]) -> str:
        keyed.append(await ctx["call"].collect_digits(16))
        return "The card was taken."

    def quotes(arguments: dict[str, Any], ctx: dict[str, Any]) -> str:
        raise RuntimeError(f"no such card: {arguments.get('card')} {c.KEYED.text} {c.WRONG.text}")

    return [
        Tool("take_card", "Takes a card.", SCHEMA, take_card),
        Tool(
            "look_up",
            "Looks a card up.",
            SCHEMA,
            webhook_url=f"{web.url}/card?key={c.TOOL_URL.text}",
        ),
        Tool(
            "gone",
            "Is not there.",
            SCHEMA,
            webhook_url=f"http://127.0.0.1:9/?key={c.TOOL_URL.text}",
        ),
        Tool("quotes", "Fails.", SCHEMA, quotes),
    ]


# -------------------------------------------------------------------------------------------- one scene


@dataclass(frozen=True)
class Show:
    """One scene being played."""

    stage: Stage
    services: Services
    haul: Haul

    async def ring(self, *steps: Any) -> Any:
        """Somebody calls; over when the farewell was said."""
        call = self.stage.ring(Caller(*steps, voice=babble))
        await call.ended(within_s=300)
        return call

    async def fails(self, made: Awaitable[object]) -> None:
        """What a program gets to see of a failure."""
        try:
            await made
        except Exception as error:  # noqa: BLE001 - whichever it is
            self.haul.error(error)
        else:
            raise MissedError("nothing was raised")


@asynccontextmanager
async def showing(
    ways: Ways,
    haul: Haul,
    folder: Path,
    theirs: Services,
    agent: Mapping[str, Any],
    **serving: Any,
) -> AsyncIterator[Show]:
    """A phone with everything on that can be on; what it leaves behind goes into `haul`."""
    flights = folder / "flights"
    given = {
        "dashboard_token": c.DASHBOARD.text,
        "webhook_secret": c.WEBHOOK.text,
        "flight_recorder": flights,
        "on_metrics": partial(haul.add, Place.CALLBACKS),
    } | serving
    async with playing(
        ways,
        agent=agent,
        serving=given,
        phone={"persist": folder / "kept", "allow_private_urls": True},
        account={ACCOUNTS[ways.name]: c.CARRIER.text},
    ) as stage:
        _listen_to(stage, haul)
        yield Show(stage, theirs, haul)
        await stage.settle()
        await stage.phone.events.drain()
        await _scrape(stage, haul)
        _read_callbacks(stage, haul)
        haul.add(Place.SHOWN, repr((stage.phone, stage.agent(**agent), *agent.values())))
        haul.add(Place.SHOWN, repr(stage.carrier.carrier()))
        haul.add(Place.RESULTS, repr(stage.results))
    FlightRecorder.written()
    _read_files(folder / "kept", flights, haul)


def _listen_to(stage: Stage, haul: Haul) -> None:
    for kind in PatterEventType:
        stage.phone.events.on(kind, partial(haul.add, Place.BUS))
    network = stage.carrier.network
    really_open = network.open

    async def open_and_note(url: str, *arguments: Any) -> Any:
        parts = urlsplit(url)
        haul.tokens.extend(parse_qs(parts.query).get("token", ()))
        return await really_open(url, *arguments)

    network.open = open_and_note


async def _scrape(stage: Stage, haul: Haul) -> None:
    address = f"http://127.0.0.1:{stage.port}"
    async with httpx.AsyncClient(base_url=address, headers={"host": HOST}) as client:
        told = {"authorization": f"Bearer {c.DASHBOARD.text}"}
        answer = await client.get("/metrics", headers=told)
        must(answer.status_code == 200, f"/metrics answered {answer.status_code}")
        haul.add(Place.METRICS, answer.text)


def _read_callbacks(stage: Stage, haul: Haul) -> None:
    for heard in stage.heard.values():
        for event in (*heard.starts, *heard.lines, *heard.ends):
            haul.add(Place.CALLBACKS, event)
    for verdict in stage.verdicts:
        haul.add(Place.CALLBACKS, vars(verdict) if hasattr(verdict, "__dict__") else verdict)
    store: Any = stage.phone.metrics_store
    for record in store.get_calls(500):
        haul.add(Place.STORE, record)
    for call in stage.carrier.calls:
        given = [getattr(ride.leg, "_parameters", {}).get("token") for ride in call.rides]
        haul.tokens.extend(filter(None, given))
    must(haul.tokens or not stage.heard, "no token was seen")


_FILES: Final = {
    "metadata.json": Place.METADATA,
    "events.jsonl": Place.EVENTS,
    "transcript.jsonl": Place.TRANSCRIPT,
}


def _read_files(kept: Path, flights: Path, haul: Haul) -> None:
    for path in kept.rglob("*"):
        if path.is_file():
            haul.add(_FILES.get(path.name, Place.OTHER_FILES), path.read_bytes())
            haul.add(Place.OTHER_FILES, path.relative_to(kept))
    for path in flights.rglob("*.jsonl"):
        haul.add(Place.FLIGHT, path.read_bytes())


# ------------------------------------------------------------------------------------------- the scenes

Scene = Callable[[Ways, Haul, Path], Awaitable[None]]
SCENES: Final[dict[str, Scene]] = {}


def scene(name: str) -> Callable[[Scene], Scene]:
    """Add one."""

    def add(play: Scene) -> Scene:
        SCENES[name] = play
        return play

    return add


@scene("pipeline: a card is spoken, keyed, looked up on the web; then a transfer")
async def pipeline(ways: Ways, haul: Haul, folder: Path) -> None:
    keyed: list[str] = []
    script = (
        Says("", calls=[Calls("take_card", {"card": c.SPOKEN.text})]),
        Says(f"I have noted {c.SPOKEN.text}."),
        Says(
            "",
            calls=[Calls(name, {"card": c.SPOKEN.text}) for name in ("look_up", "gone", "quotes")],
        ),
        Says("I connect you.", calls=[Calls("transfer_call", {"number": THIRD})]),
        Says("Goodbye."),
    )
    async with services(*script) as theirs:
        agent = theirs.pipeline(tools=tools(theirs.web, keyed), first_message="Your card, please.")
        async with showing(ways, haul, folder, theirs, agent) as show:
            show.stage.somebody(Callee(talks_s=2), THIRD)
            await show.ring(
                listen(), say(CARD), wait(4000), press(c.KEYED.text), listen(),
                say("Thank you."), wait(40_000), hang_up(),
            )  # fmt: skip
            must(theirs.web.calls, "the tool on the web was not asked")
            must(keyed == [c.KEYED.text], "the card was not keyed")


@scene("remote on_message: the replies come from a server of one's own")
async def remote(ways: Ways, haul: Haul, folder: Path) -> None:
    async with services() as theirs:
        agent = theirs.pipeline(llm=None, first_message="Your card, please.")
        url = f"{theirs.web.url}/talk?key={c.TOOL_URL.text}"
        async with showing(ways, haul, folder, theirs, agent, on_message=url) as show:
            await show.ring(listen(), say(CARD), listen(), hang_up())
            must(theirs.web.calls, "nobody was asked")


@scene("engine: a card is spoken and keyed")
async def engine(ways: Ways, haul: Haul, folder: Path) -> None:
    keyed: list[str] = []
    async with services() as theirs:
        agent = {
            **theirs.duplex(),
            "tools": tools(theirs.web, keyed),
            "first_message": "Your card?",
        }
        async with showing(ways, haul, folder, theirs, agent) as show:
            await show.ring(
                listen(), say(CARD), wait(4000), press(c.KEYED.text), listen(), hang_up()
            )
            must(not theirs.engine.problems, f"the engine complains: {theirs.engine.problems}")
            must(keyed == [c.KEYED.text], "the card was not keyed")


@scene("outbound: a call, and one that the carrier refuses with our words in its own")
async def outbound(ways: Ways, haul: Haul, folder: Path) -> None:
    async with services(Says(f"I have noted {c.SPOKEN.text}.")) as theirs:
        agent = theirs.pipeline()
        async with showing(ways, haul, folder, theirs, agent) as show:
            stage = show.stage
            stage.somebody(Callee(Caller(listen(), say(CARD), listen(), hang_up(), voice=babble)))
            await stage.call(variables={"card": c.SPOKEN.text})
            said = f"{c.CARRIER.text} may not call {THEIRS} from {OURS}"
            for status in (400, 401, 500, 500, 500, 500):
                stage.carrier.refuse_next(status, 0 if ways.name == "twilio" else said, said) if (
                    ways.name != "plivo"
                ) else stage.carrier.refuse_next(status, said)
            await show.fails(stage.call())
            await show.fails(stage.call())
            await show.fails(stage.call("tel:" + THEIRS))
            await show.fails(stage.phone.serve(stage.agent(**agent)))


def _wrong(part: str) -> Scene:
    async def play(ways: Ways, haul: Haul, folder: Path) -> None:
        async with services() as theirs:
            parts: dict[str, Any] = theirs.pipeline()
            match part:
                case "stt":
                    parts["stt"] = DeepgramSTT(c.WRONG.text, base_url=theirs.ear.ws_url)
                    theirs.ear.refusals = [_quoting(401)] * 9
                case "llm":
                    parts["llm"] = OpenAILLM(c.WRONG.text, base_url=theirs.model.base_url)
                case "tts":
                    parts["tts"] = ElevenLabsRestTTS(c.WRONG.text, base_url=theirs.voice.url)
                    theirs.voice.refusals = [_quoting(401)] * 9
                case _:
                    parts = theirs.duplex(c.WRONG.text)
                    theirs.engine.refusals = [_quoting(401)] * 9
            async with showing(
                ways, haul, folder, theirs, {**parts, "first_message": "Hi."}
            ) as show:
                await show.ring(wait(3000), say(CARD), wait(60_000), hang_up())

    return play


def _quoting(status: int) -> Refusal:
    said = f"Key {c.WRONG.text} of {CALLER} is wrong; you sent: {CARD}"
    return Refusal(status, msgspec.json.encode({"error": {"message": said}, "err_msg": said}))


for _part in ("stt", "llm", "tts", "engine"):
    SCENES[f"wrong key: {_part}, quoted back"] = _wrong(_part)


@scene("a model that fails in mid-answer and quotes")
async def failing(ways: Ways, haul: Haul, folder: Path) -> None:
    async with services() as theirs:
        said = f"{c.MODEL.text} asked about {c.SPOKEN.text} of {CALLER}"
        theirs.model.refusals = [theirs.model.refused(500, said)] * 9
        async with showing(
            ways, haul, folder, theirs, theirs.pipeline(first_message="Hi.")
        ) as show:
            await show.ring(listen(), say(CARD), wait(20_000), hang_up())


@scene("callbacks that raise, with what they were told")
async def raising(ways: Ways, haul: Haul, folder: Path) -> None:
    def raises(event: Mapping[str, Any], *_: object) -> Any:
        raise ValueError(f"cannot store {event} with {c.WRONG.text} {c.KEYED.text}")

    async with services() as theirs:
        agent = theirs.pipeline(llm=None, first_message="Your card, please.")
        given = {"on_message": raises, "on_metrics": raises}
        async with showing(ways, haul, folder, theirs, agent, **given) as show:
            for kind in PatterEventType:
                show.stage.phone.events.on(kind, raises)
            show.stage.phone.on_user_speech_started = raises
            await show.ring(listen(), say(CARD), wait(15_000), hang_up())
            show.stage.news.clear()  # that they failed is what was wanted


@scene("a program that ends a call in on_message, by hand")
async def by_hand(ways: Ways, haul: Haul, folder: Path) -> None:
    async def desk(event: Mapping[str, Any], call: CallControl) -> AsyncIterator[str]:
        haul.add(Place.SHOWN, repr(call))
        haul.add(Place.CALLBACKS, event)
        yield "One moment."
        for target in (c.WRONG.text, f"{THIRD}0000000", f"sip:{THIRD}@example.com"):
            try:
                haul.add(Place.CALLBACKS, await call.transfer(target))
            except ValueError as error:
                haul.error(error)
        await call.send_dtmf("12#")
        yield "Goodbye."
        await call.hangup()

    async with services() as theirs:
        agent = theirs.pipeline(llm=None, first_message="Your card, please.")
        async with showing(ways, haul, folder, theirs, agent, on_message=desk) as show:
            await show.ring(listen(), say(CARD), wait(30_000))


@scene("strangers: what is refused is not repeated")
async def strangers(ways: Ways, haul: Haul, folder: Path) -> None:
    async with services() as theirs, showing(ways, haul, folder, theirs, theirs.pipeline()) as show:
        port = show.stage.port
        body = f'{{"From":"{CALLER}","card":"{c.SPOKEN.text}","key":"{c.WRONG.text}"'.encode()
        line = f"From={CALLER}&card={c.SPOKEN.text}&key={c.WRONG.text}".replace(" ", "+")
        signed = {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": c.WRONG.text,
            "telnyx-signature-ed25519": c.WRONG.text,
            "telnyx-timestamp": c.WRONG.text,
            "x-plivo-signature-v3": c.WRONG.text,
            "x-plivo-signature-v3-nonce": c.WRONG.text,
        }
        paths = (
            f"/webhooks/{ways.name}/voice",
            f"/webhooks/{ways.name}/voice?{line}",
            f"/webhooks/{ways.name}/status?{line}",
            f"/webhooks/{ways.name}/{c.WRONG.text}",
            f"/webhooks/{c.WRONG.text}/voice",
            f"/{CALLER}/{c.WRONG.text}",
            f"/dashboard?token={c.WRONG.text}",
            f"/metrics?token={c.WRONG.text}",
        )
        for path in paths:
            for sent in (body, line.encode(), b"\xff" + body):
                answer = await Request(path, sent, signed).send(port)
                haul.add(Place.ANSWERS, answer.body)
        for method in ("GET", "PUT", f"{c.WRONG.text}"):
            answer = await Request(paths[1], b"", {"authorization": c.WRONG.text}, method).send(
                port
            )
            haul.add(Place.ANSWERS, answer.body)
        haul.add(Place.ANSWERS, (await send_raw(port, body + b"\r\n\r\n")).body)
        await _knock(port, f"/ws/stream/{c.WRONG.text}?token={c.WRONG.text}", haul)
        await _knock(port, f"/ws/stream/CA1?{line}", haul)


async def _knock(port: int, path: str, haul: Haul) -> None:
    head = (
        f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    haul.add(Place.ANSWERS, (await send_raw(port, head.encode())).body)


@scene("programs that are set up wrongly")
async def wrong_programs(ways: Ways, haul: Haul, folder: Path) -> None:
    del ways, folder
    config = LocalConfig(
        twilio_sid="AC" + "0" * 32,
        twilio_token=c.CARRIER.text,
        telnyx_key=c.CARRIER.text,
        openai_key=c.MODEL.text,
        deepgram_key=c.EAR.text,
        elevenlabs_key=c.VOICE.text,
    )
    haul.add(Place.SHOWN, repr(config))
    wrong: list[Callable[[], object]] = [
        lambda: Patter(phone_number=CALLER + "0000000"),
        lambda: Patter(phone_number=CALLER, webhook_url=f"https://{c.WRONG.text}@x.example/a"),
        lambda: Patter(carrier=c.WRONG.text),  # type: ignore[arg-type]
        lambda: Patter(twilio_token=c.CARRIER.text, phone_number=CALLER, nonsense=c.WRONG.text),
        lambda: Patter().agent("x", stt=c.EAR.text),
        lambda: Patter().agent("x", engine=OpenAIRealtime(c.ENGINE.text), tts=c.VOICE.text),
        lambda: Tool("x", webhook_url=f"ftp://example.com/?key={c.TOOL_URL.text}"),
        lambda: OpenAILLM(c.MODEL.text, base_url=f"ftp://user:{c.WRONG.text}@example.com"),
        lambda: DeepgramSTT(c.EAR.text, base_url=f"ftp://u:{c.WRONG.text}@example.com"),
    ]
    for make in wrong:
        try:
            made = make()
        except (PatterError, ValueError, TypeError) as error:
            haul.error(error)
        else:
            haul.add(Place.SHOWN, repr(made))
    await asyncio.sleep(0)
