"""Keeps the matrix library of numpy on one thread while a small product is computed.

OpenBLAS splits a product of more than 262 144 multiplications over all cores and lets the helpers spin
until the next one comes. The detector multiplies that much in half a millisecond, fifty times a second:
with two threads it took 30 to 500 us of CPU a frame and up to 900 us of waiting on a busy machine, with
one thread 9 us (benchmarks/vad.py). The limit holds only inside `with`, so that a program which computes
with numpy in other places keeps its cores.

Where the library cannot be found (Accelerate, an unknown build) nothing is changed.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

_SPELLINGS: Final = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)
"""The same two functions in numpy's own wheels and in the builds of distributions."""


@cache
def _thread_count() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Reads and sets the number of threads of the library that numpy computes with."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for read, write in _SPELLINGS:
            if hasattr(library, read) and hasattr(library, write):
                getter, setter = getattr(library, read), getattr(library, write)
                getter.restype, getter.argtypes = ctypes.c_int, []
                setter.restype, setter.argtypes = None, [ctypes.c_int]
                return getter, setter
    return None


def _candidates() -> list[Path]:
    """The core of numpy (which names its libraries, on Linux and macOS), then the bundled ones (Windows)."""
    package = Path(np.__file__).parent
    return [
        *package.glob("_core/_multiarray_umath*"),
        *package.parent.glob("numpy.libs/*openblas*"),
        *package.glob(".dylibs/*openblas*"),
    ]


class OneThread:
    """`with one_thread:` holds numpy's products to the calling thread; others wait for their turn."""

    __slots__ = ("_before", "_turn")

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._before = 0

    def __enter__(self) -> None:
        self._turn.acquire()
        count = _thread_count()
        if count is not None:
            read, write = count
            self._before = read()
            write(1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        count = _thread_count()
        if count is not None:
            count[1](self._before)
        self._turn.release()


one_thread: Final = OneThread()
"""The only one: the setting belongs to the process."""


def blas_threads() -> int | None:
    """How many threads numpy's products may use now; `None` when nobody can tell."""
    count = _thread_count()
    return None if count is None else count[0]()
