"""`getpatter doctor`: what would keep calls from working on this machine. Changes nothing, asks nobody else."""

from __future__ import annotations

import argparse
import platform
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from getpatter import Patter, Twilio, config
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError

_OLDEST: Final = (3, 11)
_HIGHEST_PORT: Final = 65535


def run(options: argparse.Namespace) -> int:
    """Look at everything. 0: calls can be answered; 1: something is in the way."""
    if not 1 <= options.port <= _HIGHEST_PORT:
        raise PatterConfigError(f"port must be 1 to 65535, got {options.port}")
    screen = Screen(no_color=options.no_color)
    looks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("Python", _python),
        ("offline speech (demo, LocalSTT, LocalTTS)", _offline_speech),
        ("Twilio credentials", _twilio),
        ("phone number", _phone_number),
        (f"port {options.port}", lambda: _port(options.port)),
    ]
    failed: list[str] = []
    for name, look in looks:
        is_good, detail = look()
        screen.check(name, is_good=is_good, detail=detail)
        if not is_good:
            failed.append(name)
    if failed:
        sys.stdout.flush()
        print(f"getpatter: in the way of calls: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _python() -> tuple[bool, str]:
    return sys.version_info >= _OLDEST, f"{platform.python_version()} on {platform.system()}"


def _offline_speech() -> tuple[bool, str]:
    missing = [name for name in ("pocketsphinx", "espeakng_loader") if find_spec(name) is None]
    return not missing, "pip install 'getpatter[offline]'" if missing else "installed"


def _twilio() -> tuple[bool, str]:
    try:
        Twilio()
    except PatterConfigError as error:
        return False, str(error)
    return True, "set (not tried: nothing is sent)"


def _phone_number() -> tuple[bool, str]:
    number = config.setting("PHONE_NUMBER")
    if not number:
        return True, "PHONE_NUMBER is not set: pass Patter(phone_number=...)"
    try:
        Patter(phone_number=number)
    except ValueError as error:
        return False, str(error)
    return True, "PHONE_NUMBER is well formed"


def _port(port: int) -> tuple[bool, str]:
    host = config.bind_host()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return False, f"cannot be had on {host}: {error.strerror}"
    return True, f"free on {host}"
