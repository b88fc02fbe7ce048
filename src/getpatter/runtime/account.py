"""What one call took and what it cost: turns, latency, units used, dollars. One source of numbers for everybody."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from getpatter.core import messages as m
from getpatter.core.ledger import metrics_of, summarise
from getpatter.engines.base import Usage
from getpatter.models import CallMetrics, CostBreakdown, TurnMetrics
from getpatter.pricing import (
    Pricing,
    calculate_engine_cost,
    calculate_llm_cost,
    calculate_realtime_cost,
    calculate_stt_cost,
    calculate_telephony_cost,
    calculate_tts_cost,
)
from getpatter.runtime.clerk import mode_of
from getpatter.runtime.identity import Identity, name_of_provider
from getpatter.runtime.model_replies import ModelUsage

if TYPE_CHECKING:
    from getpatter.agent import Agent

logger = logging.getLogger(__name__)

AUDIO_TOKENS_PER_SECOND: Final = 10
"""Of a caller's sound; the vendor's guide to realtime costs: one for 100 ms."""

_warned: set[str] = set()
"""Said once a process: the same model is used by every call."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What a recogniser or a voice has been given so far. Where several share the work, the last is the one at work."""

    provider: str = ""
    model: str = ""
    units: float = 0.0
    """Seconds for a recogniser, characters for a voice."""


def _latest(sounds: Sequence[Sound]) -> Sound:
    return sounds[-1] if sounds else Sound()


@dataclass(slots=True)
class Account:
    """The numbers of one call. `heard` and `spoken` are asked whenever a cost is wanted."""

    identity: Identity
    wall_offset: float
    pricing: Pricing | None = None
    """`None`: the package's own table."""
    heard: Callable[[], Sequence[Sound]] = tuple
    spoken: Callable[[], Sequence[Sound]] = tuple
    usage: list[Usage | ModelUsage] = field(default_factory=list)
    """What models and engines reported, one entry a request."""
    error_code: str = ""
    drafts: Counter[bool] = field(default_factory=Counter)
    """How many drafts were used, and how many were not."""
    context_tokens: int = 0
    """Estimate of what the model was sent last."""
    _records: list[m.TurnRecord] = field(default_factory=list)
    _turns: list[TurnMetrics] = field(default_factory=list)
    _unpriced: set[str] = field(default_factory=set)

    @property
    def hearing(self) -> Sound:
        """The recogniser at work."""
        return _latest(self.heard())

    @property
    def speaking(self) -> Sound:
        """The voice at work."""
        return _latest(self.spoken())

    def drafted(self, was_used: bool) -> None:  # noqa: FBT001 - all there is to say of a draft
        """A draft was used, or thrown away."""
        self.drafts[was_used] += 1

    def sent(self, tokens: int) -> None:
        """A model was sent a conversation of about so many tokens."""
        self.context_tokens = tokens

    def turn(self, record: m.TurnRecord) -> TurnMetrics:
        """Enter a turn that is complete."""
        metrics = metrics_of(record, wall_offset=self.wall_offset)
        self._records.append(record)
        self._turns.append(metrics)
        return metrics

    def metrics(self, agent: Agent, seconds: float) -> CallMetrics:
        """The whole call so far, `seconds` after its beginning."""
        latency = summarise(self._records)
        hearing, speaking = self.hearing, self.speaking
        models = [each.model for each in self.usage if getattr(each, "of_response", True)]
        model = models[-1] if models else ""
        cost = self.cost(seconds)
        if agent.engine is not None and self._records and not self.usage:
            # It spoke, and its vendor does not tell what it will charge.
            self._priced(None, name_of_provider(agent.engine), "")
        return CallMetrics(
            call_id=self.identity.call_id,
            duration_seconds=seconds,
            turns=tuple(self._turns),
            cost=cost,
            latency_avg=latency.average,
            latency_p50=latency.p50,
            latency_p90=latency.p90,
            latency_p95=latency.p95,
            latency_p99=latency.p99,
            provider_mode=mode_of(agent),
            stt_provider=hearing.provider or name_of_provider(agent.stt),
            tts_provider=speaking.provider or name_of_provider(agent.tts),
            llm_provider=name_of_provider(agent.llm),
            telephony_provider=self.identity.carrier,
            stt_model=hearing.model,
            tts_model=speaking.model,
            llm_model=model,
            error_code=self.error_code,
            preemptive_hits=self.drafts[True],
            preemptive_misses=self.drafts[False],
            context_tokens=self.context_tokens,
            unpriced=tuple(sorted(self._unpriced)),
        )

    def cost(self, seconds: float) -> CostBreakdown:
        """Dollars so far: an estimate until the carrier has billed. What has no price counts nothing, and is named."""
        stt = self._hearing() + sum(self._transcription(each) for each in self.usage)
        tts = self._speaking()
        llm = sum(self._tokens(each) for each in self.usage)
        identity = self.identity
        line = calculate_telephony_cost(identity.carrier, seconds, identity.direction, self.pricing)
        telephony = self._priced(line, identity.carrier, "")
        saved = sum(self._tokens(_uncached(each)) for each in self.usage) - llm
        return CostBreakdown(stt, tts, llm, telephony, stt + tts + llm + telephony, saved)

    def _hearing(self) -> float:
        return sum(
            self._priced(
                calculate_stt_cost(sound.provider, sound.units, sound.model, self.pricing),
                sound.provider,
                sound.model,
            )
            for sound in self.heard()
            if sound.units
        )

    def _speaking(self) -> float:
        return sum(
            self._priced(
                calculate_tts_cost(sound.provider, int(sound.units), sound.model, self.pricing),
                sound.provider,
                sound.model,
            )
            for sound in self.spoken()
            if sound.units
        )

    def _transcription(self, usage: Usage | ModelUsage) -> float:
        """What an engine's own transcription of the caller costs: by its time, which its tokens tell too."""
        if isinstance(usage, ModelUsage) or usage.of_response or usage.is_conversation:
            return 0.0
        seconds = usage.seconds or usage.input_audio_tokens / AUDIO_TOKENS_PER_SECOND
        if not seconds:
            return 0.0
        dollars = calculate_stt_cost(usage.provider, seconds, usage.model, self.pricing)
        return self._priced(dollars, usage.provider, usage.model)

    def _tokens(self, usage: Usage | ModelUsage) -> float:
        if isinstance(usage, ModelUsage):
            dollars = calculate_llm_cost(
                usage.provider,
                usage.model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                pricing=self.pricing,
            )
            return self._priced(dollars, usage.provider, usage.model)
        if usage.is_conversation:
            dollars = calculate_engine_cost(
                usage.provider, usage.seconds, usage.model, self.pricing
            )
            return self._priced(dollars, usage.provider, usage.model)
        if not usage.of_response:
            return 0.0
        dollars = calculate_realtime_cost(
            usage.provider,
            usage.model,
            audio_in=usage.input_audio_tokens,
            audio_out=usage.output_audio_tokens,
            text_in=usage.input_text_tokens,
            text_out=usage.output_text_tokens,
            cached_audio=usage.cached_audio_tokens,
            cached_text=usage.cached_text_tokens,
            pricing=self.pricing,
        )
        return self._priced(dollars, usage.provider, usage.model)

    def _priced(self, dollars: float | None, provider: str, model: str) -> float:
        if dollars is not None:
            return dollars
        name = f"{provider}/{model}" if model else provider
        self._unpriced.add(name)
        if name not in _warned:
            _warned.add(name)
            logger.warning("cost.unpriced provider=%s model=%s", provider, model)
        return 0.0


def _uncached(usage: Usage | ModelUsage) -> Usage | ModelUsage:
    """The same work for a vendor who had kept nothing of it."""
    if isinstance(usage, ModelUsage):
        tokens = usage.input_tokens + usage.cache_read_tokens
        return replace(usage, input_tokens=tokens, cache_read_tokens=0)
    return replace(
        usage,
        input_text_tokens=usage.input_text_tokens + usage.cached_text_tokens,
        input_audio_tokens=usage.input_audio_tokens + usage.cached_audio_tokens,
        cached_text_tokens=0,
        cached_audio_tokens=0,
    )
