"""`getpatter init`: begin a project. Nothing that is there is overwritten, unless `--force` says so."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from getpatter import config
from getpatter.cli.init_plan import CARRIERS, MODES, SERVICES, Kind, Plan, files, is_secret
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError
from getpatter.types import is_e164

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FILE_MODE: Final = 0o644
_SECRET_MODE: Final = 0o600
_SECRET_FILES: Final = frozenset({".env"})


def run(options: argparse.Namespace) -> int:
    """Ask what was not said, where somebody can answer, and write the files."""
    asks = sys.stdin.isatty()
    plan = _plan(options, asks=asks)
    folder = Path(options.name) if options.name else Path()
    names = list(files(plan, {}))
    _refuse_to_overwrite(folder, names, is_forced=options.force)
    values = _values(plan, options, asks=asks)
    written = files(plan, values)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        mode = _SECRET_MODE if name in _SECRET_FILES else _FILE_MODE
        _write(folder / name, text, mode=mode, is_forced=options.force)
    screen = Screen(no_color=options.no_color)
    for name in written:
        screen.line(f"wrote {folder / name}")
    left = [each for each in plan.variables if not values.get(each) and each != "WEBHOOK_URL"]
    if left:
        screen.line(f"still to be filled in {folder / '.env'}: {', '.join(left)}")
    screen.line("next: pip install -r requirements.txt, then getpatter doctor")
    return 0


# ------------------------------------------------------------------------------------------- answers


def _plan(options: argparse.Namespace, *, asks: bool) -> Plan:
    if options.name and not _NAME.fullmatch(options.name):
        raise PatterConfigError(
            f"--name is a folder's name of letters, digits, '.', '_' and '-', not {options.name!r}"
        )
    mode = _chosen("mode", options.mode, list(MODES), asks=asks)
    carrier = _chosen("carrier", options.carrier, list(CARRIERS), asks=asks)
    services: dict[Kind, str] = {}
    for kind in MODES[mode]:
        given: str = getattr(options, kind)
        services[kind] = _chosen(kind, given, list(SERVICES[kind]), asks=asks)
    for kind in SERVICES:
        if getattr(options, kind) and kind not in services:
            raise PatterConfigError(f"--{kind} has no meaning in --mode {mode}")
    return Plan(options.name or Path.cwd().name, carrier, services)


def _chosen(what: str, given: str, known: Sequence[str], *, asks: bool) -> str:
    if given and given not in known:
        raise PatterConfigError(f"--{what} is one of {', '.join(known)}, not {given!r}")
    while asks and not given:
        answer = _asked(f"{what} ({', '.join(known)}) [{known[0]}]: ").lower()
        if answer in {"", *known}:
            return answer or known[0]
        print(f"there is no {answer!r}")
    return given or known[0]


def _values(plan: Plan, options: argparse.Namespace, *, asks: bool) -> Mapping[str, str]:
    if options.phone_number and not is_e164(options.phone_number):
        raise PatterConfigError("--phone-number must be E.164 like +15550001234")
    values = {"PHONE_NUMBER": options.phone_number, "WEBHOOK_URL": options.webhook_url}
    for name in plan.variables:
        if options.keys_from_environment and not values.get(name):
            values[name] = config.setting(name)
        if asks and not values.get(name):
            values[name] = _secret(name) if is_secret(name) else _asked(f"{name} []: ")
    return values


def _secret(name: str) -> str:
    try:
        return getpass.getpass(f"{name} (not shown) []: ").strip()
    except EOFError as error:
        raise PatterConfigError("the input ended before everything was answered") from error


def _asked(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError as error:
        raise PatterConfigError("the input ended before everything was answered") from error


# --------------------------------------------------------------------------------------------- files


def _refuse_to_overwrite(folder: Path, names: Sequence[str], *, is_forced: bool) -> None:
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not is_forced:
        where = "" if folder == Path() else f" in {folder}"
        raise PatterConfigError(f"{', '.join(there)} exist{where}; --force overwrites them")


def _write(path: Path, text: str, *, mode: int, is_forced: bool) -> None:
    """Write a file that is never readable by more than `mode` says, not even for a moment."""
    if not is_forced:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, mode), "w", encoding="utf-8") as file:
            file.write(text)
        return
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".init-")  # only for the owner
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(beside).chmod(mode)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
