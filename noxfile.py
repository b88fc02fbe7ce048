"""The matrix: every supported Python, the lowest dependencies, each extra alone, the wheel by itself.

nox is not among the development requirements; install it where you like. Interpreters that are not on this
machine are skipped, except where `CI` says that they must be there.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "wheel"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The fast tests, with the locked versions."""
    session.install(
        "--require-hashes", "-r", "requirements/build.txt", "-r", "requirements/dev.txt"
    )
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    kinds = [f"tests/{kind}" for kind in ("unit", "contract", "properties", "sim")]
    session.run("pytest", "-q", *(kind for kind in kinds if Path(kind).is_dir()), *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The fast tests, with the lowest versions that pyproject.toml allows."""
    session.install("uv")
    session.run(
        "uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[offline]", external=True
    )
    session.install("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout", "python-dotenv")
    session.run("pytest", "-q", "tests/unit", *session.posargs)


@nox.session(python=PYTHONS[0])
@nox.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def extra(session: nox.Session, extra: str) -> None:
    """Each extra installs, and every public name that needs no other extra imports."""
    session.install(f".[{extra}]")
    session.run("python", "-c", "from getpatter import *")


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """The wheel, installed alone, has everything that it needs."""
    session.install("build")
    out = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", out, silent=True)
    built = max(Path(out).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", str(built))
    session.cd(out)
    session.run(
        "python", "-c", "import getpatter; from getpatter import *; print(getpatter.__version__)"
    )
    session.run("getpatter", "--version")
