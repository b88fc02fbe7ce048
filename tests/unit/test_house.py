"""The limits that drift when nobody looks: sizes, names, imports, prints, logs, paths.

Each is an aim; an exception is a line in a table here, with its reason beside it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "src" / "getpatter"

# ------------------------------------------------------------------------------------------- tables

MOST_LINES: Final = 600
"""The aim is 500; a file that has passed 600 has not noticed."""
MORE_LINES: Final[dict[str, tuple[int, str]]] = {
    "testing/fake_realtime.py": (800, "one vendor's protocol, server side"),
}
"""File -> (lines it may have, why)."""

MOST_LINES_IN_A_TEST: Final = 900

LOADED_BY_IMPORT: Final = (
    "asyncio cryptography email espeakng_loader httpx msgspec multiprocessing numpy picows pocketsphinx "
    "socket ssl starlette subprocess urllib.request uvicorn uvloop"
)
"""What a plain `import getpatter` must not load. Modules, not milliseconds: those differ by machine."""

VENDORS: Final = (
    "anthropic assemblyai cartesia cerebras deepgram elevenlabs gemini google groq lmnt openai plivo rime "
    "soniox speechmatics telnyx twilio ultravox"
)
VENDOR_NAMES_ALLOWED: Final = {
    "__init__.py": "the export table",
    "carriers/__init__.py": "the table of web hook routes: all of them exist in every server",
    "older.py": "shows the new spelling of keywords that name their vendor",
    "config.py": "credential fields and variables of all vendors, as documented; data",
    "makers.py": "the vendors that stand in where a program names none, as documented",
    "patter.py": "examples in messages: what a program can pass",
    "evals/session.py": "a documented keyword names it",
    "engines/google.py": "its models have a name of their own",
    "llm/google.py": "its models have a name of their own",
    "llm/groq.py": "its address has another's name in it, as the forms are the same",
    "stt/whisper.py": "a model's name is the documented module path",
    "providers/__init__.py": "the table of builders by vendor, as documented",
    "net/refusals.py": "header names that carry a request's id; data",
    "tool_schema.py": "the docstring style of that name",
}
"""Where a vendor may be named beside its own file. Below `src/getpatter`; a folder ends with `/`."""

VENDOR_NAMES_IN_PUBLIC_API: Final = re.compile(
    r"\b(?:for_twilio|for_telnyx|to_openai|to_anthropic|openai_compatible|openai_realtime\w*|openai_schema|anthropic_schema)\b"
)
"""Parameters and methods whose names are fixed by the documented interface."""

VENDOR_NAMES_IN_PLACES_OF_THEIR_OWN: Final = {
    "testing/": "simulated vendors, a file each",
    "cli/": "asks a person which vendor to use, and shows examples",
}

PATHS_OF_A_MACHINE: Final = re.compile(r"(?<![\w.~-])/(?:work|root|home/\w+|Users/\w+|opt/pypi)\b")


# ---------------------------------------------------------------------------------------- the files


@cache
def _tracked() -> tuple[Path, ...]:
    """Every file that a clone has, or would have; all files below the root where there is no git."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(git, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return tuple(path for path in PACKAGE.rglob("*") if path.is_file())
    names = listed.stdout.decode().split("\0")
    return tuple(path for name in names if name and (path := ROOT / name).is_file())


def _modules(*, below: Path = PACKAGE) -> list[Path]:
    return sorted(
        path for path in _tracked() if path.suffix == ".py" and path.is_relative_to(below)
    )


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


pytestmark = pytest.mark.timeout(30)  # these read the whole checkout, and start an interpreter


# ---------------------------------------------------------------------------------------- the rules


def test_files_are_short() -> None:
    too_long = {
        _name(path): lines
        for path in _modules()
        if (lines := len(path.read_text().splitlines()))
        > MORE_LINES.get(_name(path), (MOST_LINES,))[0]
    }
    assert not too_long, f"split these, or give a reason in MORE_LINES: {too_long}"


def test_test_files_are_short() -> None:
    too_long = {
        path.name: lines
        for path in _modules(below=ROOT / "tests")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES_IN_A_TEST
    }
    assert not too_long


def test_every_module_says_why_it_exists() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in _tracked()
        if path.suffix == ".py" and not ast.get_docstring(_tree(path))
    ]
    assert not silent, f"no module docstring: {silent}"


@pytest.mark.parametrize("module", LOADED_BY_IMPORT.split())
def test_import_does_not_load(module: str, loaded_by_import: frozenset[str]) -> None:
    assert module not in loaded_by_import


def test_import_loads_none_of_our_own_modules_but_the_version(
    loaded_by_import: frozenset[str],
) -> None:
    ours = {name for name in loaded_by_import if name.startswith("getpatter")}
    assert ours == {"getpatter", "getpatter._version"}


@pytest.fixture(scope="module")
def loaded_by_import() -> frozenset[str]:
    """Names in `sys.modules` after `import getpatter` in a fresh interpreter that were not there before."""
    program = (
        "import sys; before = set(sys.modules); import getpatter; "
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-c", program]
    run = subprocess.run(
        command, capture_output=True, check=True, text=True, stdin=subprocess.DEVNULL
    )
    loaded = frozenset(run.stdout.split())
    assert "getpatter" in loaded, "the package is not installed in this environment"
    return loaded


def test_only_commands_print() -> None:
    printing = [
        f"{_name(path)}:{node.lineno}"
        for path in _modules()
        if not _name(path).startswith("cli/")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not printing


def _words(tree: ast.Module) -> set[str]:
    """What the code says: its names, attributes, imports and strings, but not what it explains."""
    explained = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    words: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in explained:
                words.add(text)
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                words.add(name)
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
            ):
                words.add(name)
            case ast.ImportFrom(module=str(name)) | ast.alias(name=name):
                words.add(name)
            case ast.keyword(arg=str(name)):
                words.add(name)
            case _:
                pass
    return words


def _strangers(path: Path) -> set[str]:
    """Vendors that the code of `path` names and that are not the vendor of this file."""
    said = VENDOR_NAMES_IN_PUBLIC_API.sub("", "\n".join(_words(_tree(path)))).lower()
    own = _name(path).lower()
    return {
        vendor
        for vendor in VENDORS.split()
        if vendor not in own and re.search(rf"(?<![a-z]){vendor}", said)
    }


def test_a_vendor_is_named_in_its_own_file_only() -> None:
    named = {
        name: sorted(strangers)
        for path in _modules()
        if (name := _name(path)) not in VENDOR_NAMES_ALLOWED
        and not name.startswith(tuple(VENDOR_NAMES_IN_PLACES_OF_THEIR_OWN))
        and (strangers := _strangers(path))
    }
    assert not named, f"make it a capability, or give a reason in VENDOR_NAMES_ALLOWED: {named}"


def test_allowed_exceptions_are_still_needed() -> None:
    gone = [name for name in MORE_LINES if not (PACKAGE / name).is_file()]
    within = [
        name
        for name in MORE_LINES
        if name not in gone and len((PACKAGE / name).read_text().splitlines()) <= MOST_LINES
    ]
    assert not gone
    assert not within, f"short enough now; take them out of MORE_LINES: {within}"


def test_no_file_names_a_path_of_this_machine() -> None:
    this_file = Path(__file__).resolve()
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{number}: {line.strip()[:80]}"
        for path in _tracked()
        if path.suffix
        in {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".js", ".html", ""}
        and path.resolve() != this_file
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if PATHS_OF_A_MACHINE.search(line)
    ]
    assert not found


def test_requirements_name_no_registry() -> None:
    lists = [path for path in _tracked() if path.parent.name == "requirements"]
    assert {path.name for path in lists} >= {"build.txt", "dev.txt", "run.txt"}
    for path in lists:
        text = path.read_text()
        assert "://" not in text, path.name
        assert "--index" not in text, path.name
        assert "--find-links" not in text, path.name


def test_required_packages_are_hashed() -> None:
    for name in ("build.txt", "dev.txt", "run.txt"):
        entries = re.split(r"\n(?=\S)", (ROOT / "requirements" / name).read_text().strip())
        loose = [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]
        assert not loose, (name, loose)


# -------------------------------------------------------------------------------------------- sleep


def _sleeps(path: Path) -> list[int]:
    """Lines that wait for the clock: `time.sleep(x)`, `asyncio.sleep(x)` with x other than 0."""
    return [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sleep"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"asyncio", "time"}
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]


def _is_in_virtual_time(path: Path) -> bool:
    """Whether its tests run on the loop whose clock jumps; an hour of sleep is nothing there."""
    return any(
        isinstance(node, ast.ImportFrom)
        and (
            node.module == "getpatter.testing.time"
            or (node.module == "getpatter.testing" and "time" in {each.name for each in node.names})
        )
        for node in _tree(path).body
    )


@pytest.mark.parametrize("kind", ["contract", "properties", "sim", "unit"])
def test_fast_tests_do_not_sleep(kind: str) -> None:
    asleep = {
        path.name: lines
        for path in _modules(below=ROOT / "tests" / kind)
        if (lines := _sleeps(path)) and not _is_in_virtual_time(path)
    }
    assert not asleep


# --------------------------------------------------------------------------------------------- logs

LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOG_PAGE: Final = ROOT / "docs" / "reference" / "logs.md"
LOG_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+(?=[ :]|$)")
_ROW: Final = re.compile(
    r"^\| `(?P<name>[^`]+)` \| (?P<levels>[^|]+) \| (?P<meaning>[^|]+) \|$", re.MULTILINE
)


def _logged(path: Path) -> list[tuple[int, str, ast.expr | None]]:
    """(line, level, message) of each call of a logger in `path`."""
    return [
        (node.lineno, node.func.attr, node.args[0] if node.args else None)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"logger", "_logger", "log"}
    ]


def logged_names() -> dict[str, set[str]]:
    """Log name -> levels it is logged at, from the source."""
    names: dict[str, set[str]] = {}
    for path in _modules():
        for _, level, message in _logged(path):
            if isinstance(message, ast.Constant) and isinstance(message.value, str):
                found = LOG_NAME.match(message.value)
                if found:
                    names.setdefault(found.group(), set()).add(
                        "error" if level == "exception" else level
                    )
    return names


def test_log_messages_begin_with_a_stable_name() -> None:
    wild = [
        f"{_name(path)}:{line}"
        for path in _modules()
        for line, _, message in _logged(path)
        if not (
            isinstance(message, ast.Constant)
            and isinstance(message.value, str)
            and LOG_NAME.match(message.value)
        )
    ]
    assert not wild, f'write logger.info("area.what_happened key=%s", value): {wild}'


def test_the_log_page_lists_what_is_logged() -> None:
    rows = {row["name"]: row["levels"].strip() for row in _ROW.finditer(LOG_PAGE.read_text())}
    source = {name: ", ".join(sorted(levels)) for name, levels in logged_names().items()}
    missing = {name: levels for name, levels in source.items() if rows.get(name) != levels}
    assert not missing, f"add to, or correct in, docs/reference/logs.md: {missing}"
    stale = sorted(set(rows) - set(source))
    assert not stale, f"no longer logged; remove from docs/reference/logs.md: {stale}"


def _shows_text(call: ast.Call) -> bool:
    """Whether this call logs an exception as it is."""
    given = {each.arg: each.value for each in call.keywords}
    match given.get("exc_info"):
        case None:
            return isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == (
                "logger.exception"
            )
        case ast.Call(func=ast.Name(id="without_text")) | ast.Name(id="shown"):
            return False
        case _:
            return True


def test_an_exception_is_logged_without_its_text() -> None:
    """It may quote what a caller said: `getpatter/tracebacks.py`. The command line's `--debug` is its user's own."""
    named = [
        f"{_name(path)}:{node.lineno}"
        for path in _modules()
        if not _name(path).startswith(("testing/", "cli/"))
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and _shows_text(node)
    ]
    assert not named, f"exc_info=without_text(error): {named}"
