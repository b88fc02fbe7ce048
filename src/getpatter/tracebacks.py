"""An exception as a log may show it: what it is and where it was raised, not what it says.

A callback that fails quotes what it was given (`ValueError: no such card: 4929...`), and what it was given is what a
caller said. So the text of an exception that is not ours stays out of the log; its class, its traceback and those
of what caused it are there. `PATTER_LOG_ERROR_TEXT=1` brings the text back, for a
machine where nobody real is on the line.
"""

from __future__ import annotations

from typing import Final

from getpatter import config
from getpatter.errors import PatterError

WITHHELD: Final = "(text withheld; PATTER_LOG_ERROR_TEXT=1 shows it)"


def without_text(error: BaseException | None) -> BaseException | None:
    """What to give to a logger as `exc_info`: prints as `error` does, but for its words. Our own errors keep theirs."""
    if error is None or config.shows_error_text():
        return error
    return _stand_in(error, {})


def _stand_in(error: BaseException, made: dict[BaseException, BaseException]) -> BaseException:
    if error in made:
        return made[error]
    kind = type(error)
    place = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    if isinstance(error, BaseExceptionGroup):
        parts = [_stand_in(each, made) for each in error.exceptions]
        shown: BaseException = type(kind.__name__, (BaseExceptionGroup,), place)(WITHHELD, parts)
    else:
        words = str(error) if isinstance(error, PatterError) else WITHHELD
        shown = type(kind.__name__, (BaseException,), place)(words)
    made[error] = shown
    shown.__traceback__ = error.__traceback__
    if error.__cause__ is not None:
        shown.__cause__ = _stand_in(error.__cause__, made)
    if error.__context__ is not None:
        shown.__context__ = _stand_in(error.__context__, made)
    shown.__suppress_context__ = error.__suppress_context__
    return shown
