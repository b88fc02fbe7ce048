"""`Fallback(...)`: the chain of whatever kind of provider it is given."""

from __future__ import annotations

from typing import Any, overload

from getpatter.llm.base import LLMProvider
from getpatter.llm.fallback import FallbackLLMProvider
from getpatter.stt.base import STTProvider
from getpatter.stt.fallback import FallbackSTTProvider
from getpatter.tts.base import TTSProvider
from getpatter.tts.fallback import FallbackTTSProvider

_KINDS = (
    ("stream", FallbackLLMProvider),
    ("synthesize", FallbackTTSProvider),
    ("receive_transcripts", FallbackSTTProvider),
)


@overload
def Fallback(*providers: STTProvider, **options: float) -> FallbackSTTProvider: ...
@overload
def Fallback(*providers: TTSProvider, **options: float) -> FallbackTTSProvider: ...
@overload
def Fallback(*providers: LLMProvider, **options: float) -> FallbackLLMProvider: ...
def Fallback(  # noqa: N802 - reads as the object that it makes
    *providers: Any, **options: Any
) -> FallbackSTTProvider | FallbackTTSProvider | FallbackLLMProvider:
    """A chain of models, of recognisers or of voices, best first.

    ```python
    stt = Fallback(DeepgramSTT(), SonioxSTT())
    ```

    Args:
        providers: Objects of one kind.
        options: Keywords of the chain's class: `FallbackSTTProvider`, `FallbackTTSProvider`, `FallbackLLMProvider`.

    Raises:
        ValueError: no provider, or a number that cannot be.
        TypeError: objects of several kinds, or of none that has a chain.
    """
    if not providers:
        raise ValueError("Fallback: name at least one provider")
    for method, kind in _KINDS:
        odd = [each for each in providers if not callable(getattr(each, method, None))]
        if not odd:
            return kind(providers, **options)
        if len(odd) < len(providers):
            name = type(odd[0]).__name__
            raise TypeError(f"Fallback: {name} is of another kind, it has no {method}()")
    raise TypeError(
        f"Fallback: {type(providers[0]).__name__} is no model, recogniser or voice; "
        "there are chains of these only"
    )
