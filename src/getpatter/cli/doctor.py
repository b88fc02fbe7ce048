"""`getpatter doctor`: what would keep calls from working on this machine. Changes nothing.

Carriers and the service of the default model are asked whether they accept the credentials; `--offline` asks nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from typing import Final

from getpatter import config
from getpatter.carriers.base import OwnedNumber, checked_webhook
from getpatter.cli import accounts, environment
from getpatter.cli.accounts import Account
from getpatter.cli.numbers import ask
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError, PatterError
from getpatter.net.http import HttpClient
from getpatter.net.messages import HttpRequest
from getpatter.types import is_e164

_OLDEST: Final = (3, 11)
_HIGHEST_PORT: Final = 65535
_EXTRAS: Final = {
    "evals": ("yaml",),
    "metrics": ("prometheus_client",),
    "offline": ("pocketsphinx", "espeakng_loader"),
    "scheduling": ("cronsim",),
    "tracing": ("opentelemetry.sdk",),
}
_KEYS: Final = (
    "ANTHROPIC ASSEMBLYAI CARTESIA CEREBRAS DEEPGRAM ELEVENLABS GEMINI GOOGLE GROQ INWORLD LMNT OPENAI RIME "
    "SONIOX SPEECHMATICS ULTRAVOX"
)
_OPENAI: Final = "https://api.openai.com/v1"
_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    name: str
    is_good: bool
    detail: str = ""


def _good(name: str, detail: str) -> Finding:
    return Finding(name, is_good=True, detail=detail)


def _bad(name: str, detail: str) -> Finding:
    return Finding(name, is_good=False, detail=detail)


def run(options: argparse.Namespace) -> int:
    """Look at everything. 0: calls can be answered; 1: something is in the way."""
    if not 1 <= options.port <= _HIGHEST_PORT:
        raise PatterConfigError(f"port must be 1 to 65535, got {options.port}")
    screen = Screen(no_color=options.no_color)
    read = environment.read()
    findings = [
        _python(),
        _good(".env", read),
        _extras(),
        *asyncio.run(_asked(is_offline=options.offline)),
        _way_in(),
        _port(options.port),
    ]
    for each in findings:
        screen.check(each.name, is_good=each.is_good, detail=each.detail)
    failed = [each.name for each in findings if not each.is_good]
    if failed:
        sys.stdout.flush()
        print(f"getpatter: in the way of calls: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _python() -> Finding:
    version = f"{platform.python_version()} on {platform.system()}"
    return Finding("Python", sys.version_info >= _OLDEST, version)


def _extras() -> Finding:
    missing = [
        name
        for name, modules in _EXTRAS.items()
        if not all(_is_installed(module) for module in modules)
    ]
    there = ", ".join(name for name in _EXTRAS if name not in missing) or "none"
    wanted = f"; pip install 'getpatter[{','.join(missing)}]' adds the rest" if missing else ""
    return _good("extras", f"{there}{wanted}")


def _is_installed(module: str) -> bool:
    package, _, below = module.partition(".")
    return find_spec(package) is not None and (not below or find_spec(module) is not None)


# --------------------------------------------------------------------------------------- credentials


async def _asked(*, is_offline: bool) -> list[Finding]:
    findings: list[Finding] = []
    begun = [each for each in accounts.ALL if each.is_begun]
    if not begun:
        names = ", or ".join(" and ".join(each.variables) for each in accounts.ALL)
        findings.append(_bad("carrier", f"no credentials: set {names}"))
    owned: list[tuple[Account, OwnedNumber]] = []
    for account in begun:
        finding, numbers = await _account(account, is_offline=is_offline)
        findings.append(finding)
        owned += ((account, number) for number in numbers)
    is_listed = not is_offline and any(not each.missing for each in begun)
    findings += _number(owned, is_listed=is_listed and all(each.is_good for each in findings))
    findings += await _services(is_offline=is_offline)
    return findings


async def _account(account: Account, *, is_offline: bool) -> tuple[Finding, list[OwnedNumber]]:
    name = f"{account.shown} credentials"
    if account.missing:
        return _bad(name, f"set {' and '.join(account.missing)}"), []
    if is_offline:
        return _good(name, "set (not tried: --offline)"), []
    found = await ask(account)
    if isinstance(found, PatterError):
        return _bad(name, " ".join(str(found).split())), []
    count = f"{len(found)} number{'s' * (len(found) != 1)}"
    return _good(name, f"accepted, {count}"), found


def _number(owned: Sequence[tuple[Account, OwnedNumber]], *, is_listed: bool) -> Iterator[Finding]:
    number = config.setting("PHONE_NUMBER")
    name = "phone number"
    if not number:
        yield _good(name, "PHONE_NUMBER is not set: pass Patter(phone_number=...)")
    elif not is_e164(number):
        yield _bad(name, "PHONE_NUMBER must be E.164 like +15550001234")
    elif not is_listed:
        yield _good(name, "PHONE_NUMBER is well formed")
    else:
        mine = next((each for each in owned if each[1].number == number), None)
        if mine is None:
            yield _bad(name, "no carrier account has the number of PHONE_NUMBER")
            return
        yield _good(name, f"belongs to the {mine[0].shown} account")
        yield _webhook(*mine)


def _webhook(account: Account, number: OwnedNumber) -> Finding:
    rings = f"rings at {number.webhook_url}" if number.webhook_url else "rings nowhere yet"
    if number.note:
        return Finding("webhook", is_good=account.name != "twilio", detail=number.note)
    host = config.setting("WEBHOOK_URL")
    if not host:
        return _good("webhook", f"{rings}; serve() sets it")
    wanted = checked_webhook(host, vendor=account.name)
    if number.webhook_url == wanted:
        return _good("webhook", rings)
    return _good("webhook", f"{rings}; serve() sets it to {wanted}")


async def _services(*, is_offline: bool) -> list[Finding]:
    there = [each for each in _KEYS.split() if config.setting(f"{each}_API_KEY")]
    if not there:
        detail = "no key of a recogniser, voice or model is set; local ones need none"
        return [_good("service keys", detail)]
    if is_offline or "OPENAI" not in there:
        names = ", ".join(f"{each}_API_KEY" for each in there)
        return [_good("service keys", f"{names} (set, not tried)")]
    others = ", ".join(f"{each}_API_KEY" for each in there if each != "OPENAI")
    tried = await _openai()
    if not others:
        return [tried]
    return [tried, _good("service keys", f"{others} (set, not tried)")]


async def _openai() -> Finding:
    """Whether the key may list models, which costs nothing."""
    key, name = config.setting("OPENAI_API_KEY"), "OPENAI_API_KEY"
    base = config.setting("OPENAI_BASE_URL", _OPENAI).rstrip("/")
    request = HttpRequest("GET", f"{base}/models", {"authorization": f"Bearer {key}"})
    http = HttpClient("openai")
    try:
        answer = await http.send(request, total_timeout=_WITHIN_S)
    except PatterError as error:
        return _bad(name, " ".join(str(error).split()))
    finally:
        await http.aclose()
    if answer.status == HTTPStatus.OK:
        return _good(name, "accepted")
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return _bad(name, "refused (401)")
    return _good(name, f"set; whether it is accepted is not said ({answer.status})")


# ------------------------------------------------------------------------------------------- machine


def _way_in() -> Finding:
    name = "way in"
    host = config.setting("WEBHOOK_URL")
    if host:
        try:
            checked_webhook(host, vendor="any")
        except PatterConfigError:
            return _bad(name, "WEBHOOK_URL is not a host name")
        return _good(name, f"WEBHOOK_URL is {host}; no tunnel is needed")
    path = shutil.which("cloudflared")
    if path is not None:
        return _good(name, f"tunnel program: {path}")
    return _bad(
        name,
        "the carrier cannot reach this machine: set WEBHOOK_URL to its public host name, or install "
        "cloudflared for serve(tunnel=True)",
    )


def _port(port: int) -> Finding:
    host = config.bind_host()
    name = f"port {port}"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return _bad(name, f"cannot be had on {host}: {error.strerror}")
    return _good(name, f"free on {host}")
