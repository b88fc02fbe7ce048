"""`getpatter numbers`, `attach-number` and `doctor`, as processes, against simulated carriers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from getpatter.testing.fake_llm_chat import FakeOpenAI
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.twilio import SimulatedTwilio
from tests.e2e.cli_kit import getpatter

WRONG: Final = "wrong-secret-of-this-test-0000"


@dataclass
class Company:
    """One simulated carrier, and the environment of somebody who has an account there."""

    carrier: Any
    settings: dict[str, str]
    secret: str
    """The variable of its secret."""

    @property
    def number(self) -> str:
        """The account's first number."""
        numbers = self.carrier.numbers
        first = numbers[0] if isinstance(numbers, list) else next(iter(numbers))
        return f"+{str(getattr(first, 'phone_number', first)).removeprefix('+')}"


@asynccontextmanager
async def company(name: str) -> AsyncIterator[Company]:
    carrier: Any
    match name:
        case "twilio":
            carrier = SimulatedTwilio()
            settings = {
                "TWILIO_ACCOUNT_SID": carrier.account_sid,
                "TWILIO_AUTH_TOKEN": carrier.auth_token,
            }
            secret = "TWILIO_AUTH_TOKEN"
        case "telnyx":
            carrier = SimulatedTelnyx()
            settings = {
                "TELNYX_API_KEY": carrier.api_key,
                "TELNYX_CONNECTION_ID": carrier.connection_id,
            }
            secret = "TELNYX_API_KEY"
        case _:
            carrier = SimulatedPlivo()
            settings = {
                "PLIVO_AUTH_ID": carrier.auth_id,
                "PLIVO_AUTH_TOKEN": carrier.auth_token,
            }
            secret = "PLIVO_AUTH_TOKEN"
    async with carrier:
        settings[f"{name.upper()}_BASE_URL"] = carrier.base_url
        yield Company(carrier, settings, secret)


all_carriers = pytest.mark.parametrize("name", ["twilio", "telnyx", "plivo"])


@all_carriers
async def test_a_number_is_attached_and_listed(name: str, tmp_path: Path) -> None:
    async with company(name) as one:
        before = await getpatter("numbers", folder=tmp_path, settings=one.settings)
        assert (before.status, before.err) == (0, ""), before
        assert one.number in before.out
        attached = await getpatter(
            "attach-number", one.number, "--url", "calls.example", "--carrier", name,
            folder=tmp_path, settings=one.settings,
        )  # fmt: skip
        assert (attached.status, attached.err) == (0, ""), attached
        after = await getpatter(
            "numbers", "--carrier", name, folder=tmp_path, settings=one.settings
        )
        assert f"https://calls.example/webhooks/{name}/voice" in after.out
        assert one.settings[one.secret] not in before.out + attached.out + after.out
        assert not one.carrier.problems


@all_carriers
async def test_refused_credentials_are_one_line(name: str, tmp_path: Path) -> None:
    async with company(name) as one:
        settings = {**one.settings, one.secret: WRONG}
        listed = await getpatter("numbers", folder=tmp_path, settings=settings)
        attached = await getpatter(
            "attach-number",
            one.number,
            "--url",
            "calls.example",
            folder=tmp_path,
            settings=settings,
        )
        for ended in (listed, attached):
            assert WRONG not in ended.problem(1)


async def test_whose_number_it_is_must_be_clear(tmp_path: Path) -> None:
    async with company("twilio") as one, company("plivo") as other:
        settings = {**one.settings, **other.settings}
        both = await getpatter("numbers", folder=tmp_path, settings=settings)
        assert one.number in both.out
        assert "plivo" in both.out
        ended = await getpatter(
            "attach-number", one.number, "--url", "a.example", folder=tmp_path, settings=settings
        )
        assert "--carrier" in ended.problem(2)
        strange = await getpatter(
            "attach-number", "+15550009876", "--url", "a.example", "--carrier", "twilio",
            folder=tmp_path, settings=settings,
        )  # fmt: skip
        assert "no number" in strange.problem(1)
        assert len(both.out.splitlines()) == 2
        # What a .env file says is used, except where requests go to.
        text = "".join(f'{name}="{value}"\n' for name, value in one.settings.items())
        (tmp_path / ".env").write_text(text.replace("http://", "http://elsewhere."))
        known = {"TWILIO_BASE_URL": one.settings["TWILIO_BASE_URL"]}
        from_file = await getpatter("numbers", folder=tmp_path, settings=known)
        assert (from_file.status, from_file.err) == (0, ""), from_file
        assert one.number in from_file.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("numbers",), "TWILIO_ACCOUNT_SID"),
        (("numbers", "--carrier", "plivo"), "PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN"),
        (("numbers", "--carrier", "pigeon"), "pigeon"),
        (("attach-number", "555", "--url", "a.example"), "E.164"),
        (("attach-number", "+15550001234"), "--url"),
    ],
)
async def test_wrong_usage_is_told_in_one_line(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    ended = await getpatter(*arguments, folder=tmp_path)
    assert says in ended.problem(2)
    assert not ended.out


# ------------------------------------------------------------------------------------------- doctor


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@all_carriers
async def test_the_doctor_finds_nothing_to_mend_and_changes_nothing(
    name: str, tmp_path: Path
) -> None:
    async with company(name) as one, FakeOpenAI() as service:
        settings = {
            **one.settings,
            "PHONE_NUMBER": one.number,
            "WEBHOOK_URL": "calls.example",
            "OPENAI_API_KEY": service.key,
            "OPENAI_BASE_URL": service.base_url,
            "DEEPGRAM_API_KEY": "dg-not-tried",
        }
        ended = await getpatter("doctor", "--port", free_port(), folder=tmp_path, settings=settings)
        assert (ended.status, ended.err) == (0, ""), ended
        assert "credentials: accepted, 1 number" in ended.out
        assert "phone number: belongs to the" in ended.out
        assert f"serve() sets it to https://calls.example/webhooks/{name}/voice" in ended.out
        assert "OPENAI_API_KEY: accepted" in ended.out
        assert "DEEPGRAM_API_KEY (set, not tried)" in ended.out
        for secret in (one.settings[one.secret], service.key, "dg-not-tried"):
            assert secret not in ended.out
        assert one.carrier.requests
        assert all(each.operation.startswith("GET") for each in one.carrier.requests)
        assert not files_in(tmp_path)


async def test_the_doctor_names_each_thing_in_the_way(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with company("twilio") as one, FakeOpenAI() as service:
            settings = {
                **one.settings,
                "PHONE_NUMBER": "+15550009876",
                "OPENAI_API_KEY": WRONG,
                "OPENAI_BASE_URL": service.base_url,
                "PLIVO_AUTH_ID": "MA123",
                "PATH": "/nowhere",
            }
            ended = await getpatter("doctor", "--port", port, folder=tmp_path, settings=settings)
    problem = ended.problem(1)
    for each in ("Plivo credentials", "OPENAI_API_KEY", "way in", f"port {port}"):
        assert each in problem
    assert "set PLIVO_AUTH_TOKEN" in ended.out
    assert WRONG not in ended.out + ended.err


async def test_the_doctor_knows_whose_number_it_is_not(tmp_path: Path) -> None:
    async with company("twilio") as one:
        settings = {**one.settings, "PHONE_NUMBER": "+15550009876", "WEBHOOK_URL": "calls.example"}
        strange = await getpatter(
            "doctor", "--port", free_port(), folder=tmp_path, settings=settings
        )
        assert "phone number" in strange.problem(1)
        refused = await getpatter(
            "doctor", "--port", free_port(), folder=tmp_path,
            settings={**settings, one.secret: WRONG},
        )  # fmt: skip
        assert "Twilio credentials" in refused.problem(1)
        asked = len(one.carrier.requests)
        offline = await getpatter(
            "doctor", "--offline", "--port", free_port(), folder=tmp_path, settings=settings
        )
        assert (offline.status, offline.err) == (0, ""), offline
        assert "not tried: --offline" in offline.out
        assert len(one.carrier.requests) == asked
