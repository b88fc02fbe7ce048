"""The wheel: built from this checkout, it has everything, and works alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(ROOT),
    ]
    subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(files.read(name).decode())


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "src" / "getpatter"
    there = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as files:
        held = {name for name in files.namelist() if name.startswith("getpatter/")}
    assert "getpatter/py.typed" in held
    assert held == there


def test_licence_and_notice_travel_with_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        (notice,) = (name for name in files.namelist() if name.endswith("/licenses/NOTICE"))
        assert any(name.endswith("/licenses/LICENSE") for name in files.namelist())
        assert "Silero Team" in files.read(notice).decode()


def test_nothing_gpl_is_a_base_dependency(metadata: Message) -> None:
    base = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert not [need for need in base if need.startswith(("espeak", "pocketsphinx", "piper"))]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


def test_both_commands_are_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith("entry_points.txt"))
        scripts = files.read(name).decode()
    assert "getpatter = getpatter.cli:main" in scripts
    assert "patter = getpatter.cli:main" in scripts


def test_every_public_name_imports_from_the_wheel(wheel: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import getpatter; "
        "assert getpatter.__file__.startswith(sys.argv[1]), getpatter.__file__; "
        "from getpatter import *; print(getpatter.__version__)"
    )
    unpacked = wheel.parent / "unpacked"
    with zipfile.ZipFile(wheel) as files:
        files.extractall(unpacked)
    command = [sys.executable, "-I", "-c", program, str(unpacked)]
    run = subprocess.run(
        command, capture_output=True, check=True, text=True, stdin=subprocess.DEVNULL
    )
    assert run.stdout.strip()
