"""How soon the agent falls silent when it is interrupted, and what interrupts it that should not.

    python -m benchmarks.barge_in              about a minute
    python -m benchmarks.barge_in --quick

Needs `pip install 'getpatter[offline]'`. Whole calls in virtual time: the carrier's frames, the built-in voice
detector and the session are the real ones; the network between them takes no time. Callers speak with several
synthetic voices, at -26 to -14 dBov over -55 dBov of line noise, at random moments, so that they begin anywhere
within a frame. `delay` is from the caller's first sample above -50 dBFS to the last sample of the agent that
the caller hears. The second table makes sounds that are no interruptions and counts those that stop the agent:
no speech, speech with a closed mouth, and speech that is shorter than the threshold. An "uh-huh" that is longer is
speech like any other to a detector; how often it interrupts is shown in the third table.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks._figures import options, percentile, verdict
from getpatter.agent import build_agent
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import (
    RATE,
    Caller,
    babble,
    coughed,
    hang_up,
    hummed,
    interrupt_after,
    mumbled,
    say,
    wait,
)
from getpatter.testing.line import Ear
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.twilio import SimulatedCall
from getpatter.tts.local import speech

THRESHOLDS_MS = (300, 200)
VOICES = ("en-us+adam", "en-us", "en-gb-x-rp", "en-us+f2", "en-us+klatt6", "en-us+Diogo")
SAYS = (
    "stop listen to me",
    "no that is wrong",
    "excuse me can I ask you something",
    "hold on a moment please",
    "I would like to speak to somebody",
    "what did you say",
    "actually make it tuesday instead",
    "sorry who is this",
)
UNSEEN_VOICES = (
    "en-us+m3",
    "en-us+f3",
    "en-us+m7",
    "en-us+f4",
    "en-gb-x-rp+m1",
    "en-us+edward2",
)
UNSEEN_SAYS = (
    "can you repeat that for me",
    "who are you exactly",
    "listen I only have one question",
    "my number is wrong in your file",
    "you already told me about it",
    "please put me through to billing",
    "thank you but I need help",
    "we moved to another house",
)
"""The settings of `core/barge_in.py` were chosen on the sets above, and not on these."""
MURMURS = ("hmm", "uh-huh", "uh", "oh", "ah")
RATES = (120, 165, 220)
NOISE_DBOV = -55.0
AT_ONCE = 40
GREETING = (
    "This sentence goes on and on and does not end before somebody says something to it, " * 3
)
AIM_P95_MS = 300.0
EARLY_MS = 72
"""A sound of the threshold less this may interrupt: the agent is to be silent by the threshold, decisions come once in
32 ms and are heard 24 ms later at worst, and each end of a sound is known to within 8 ms."""
QUIET = 104.0
NOISE_FALLS_S = 0.4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one sound did to the agent."""

    name: str
    lasts_ms: float
    delay_ms: float | None
    """`None`: the agent went on."""


def loud(pcm: bytes, dbov: float) -> bytes:
    """PCM16 at that level, root mean square."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    now = np.sqrt(np.mean(samples**2)) / 32768
    scaled = samples * (10 ** (dbov / 20) / now)
    return np.clip(scaled, -32768, 32767).astype("<i2").tobytes()


def on_a_line(pcm: bytes, chance: random.Random) -> bytes:
    """The sound with line noise around it, beginning anywhere within a frame."""
    before = round(NOISE_FALLS_S * RATE) + chance.randrange(256)
    after = np.zeros(round(NOISE_FALLS_S * RATE))
    whole = np.concatenate((np.zeros(before), np.frombuffer(pcm, "<i2"), after))
    noise = np.random.default_rng(chance.getrandbits(32)).standard_normal(whole.size)
    whole += noise * 32768 * 10 ** (NOISE_DBOV / 20)
    return np.clip(whole, -32768, 32767).astype("<i2").tobytes()


def clicks(count: int, seed: int) -> bytes:
    """Keys of a keyboard: a few milliseconds of noise each, 120 ms apart."""
    dice = np.random.default_rng(seed)
    pieces: list[bytes] = []
    for _ in range(count):
        tap = dice.standard_normal(60) * np.exp(-np.arange(60) / 15) * 6000
        pieces += [tap.astype("<i2").tobytes(), bytes(2 * 900)]
    return b"".join(pieces)


def hiss(ms: float, seed: int) -> bytes:
    """White noise, as of a bus that passes."""
    dice = np.random.default_rng(seed)
    return (dice.standard_normal(round(ms * RATE / 1000)) * 3000).astype("<i2").tobytes()


def closed_mouth(ms: float, seed: int) -> bytes:
    """An "mm-hm" through the nose: a low murmur, a breath of 60 ms, the murmur again a little higher.

    Harmonics under one resonance at 270 Hz and, 26 dB weaker, one at 1100: what is known of /m/.
    """
    dice = np.random.default_rng(seed)
    pitch = dice.uniform(95, 190)
    halves: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    for rise in (1.0, 1.2):
        t = np.arange(round((ms - 60) / 2 * RATE / 1000)) / RATE
        sound = np.zeros(t.size)
        for n in range(1, int(3400 / (pitch * rise))):
            hz = n * pitch * rise
            near = 1 / (1 + ((hz - 270) / 80) ** 2) + 0.05 / (1 + ((hz - 1100) / 150) ** 2)
            sound += near * np.sin(2 * np.pi * hz * t)
        edge = np.minimum(1, np.minimum(t, t[::-1]) / 0.03)
        halves += [sound / np.abs(sound).max() * edge, 0.004 * dice.standard_normal(480)]
    return (np.concatenate(halves[:3]) * 8000).astype("<i2").tobytes()


async def noises(threshold_ms: int) -> Mapping[str, list[bytes]]:
    """Sounds that are no interruptions: no speech, no open mouth, or too short for the threshold."""
    found: dict[str, list[bytes]] = {
        "cough": [coughed(seed=seed) for seed in range(12)],
        "clicks": [clicks(count, count) for count in (1, 2, 4, 8)],
        "hiss": [hiss(ms, int(ms)) for ms in (100, 300, 600, 1200)],
        "hum": [hummed(ms, hz=hz) for ms in (200, 400, 800) for hz in (110.0, 140.0, 210.0)],
        "mm-hm": [closed_mouth(ms, seed) for ms in (280, 400, 600, 900) for seed in range(4)],
    }
    brief = {"syllable": [mumbled(190, seed=seed) for seed in range(6)]}
    for text in MURMURS:
        every = [await speech(text, voice=voice, rate=rate) for voice in VOICES for rate in RATES]
        brief[f'brief "{text}"'] = every
    for name, every in brief.items():
        short = [pcm for pcm in every if lasts(loud(pcm, -14)) < threshold_ms - EARLY_MS]
        if short:
            found[name] = short
    return found


async def murmurs(threshold_ms: int) -> Mapping[str, list[bytes]]:
    """Open-mouthed ones that last longer than the threshold: speech by the letter of the rule."""
    found: dict[str, list[bytes]] = {}
    for text in MURMURS:
        every = [await speech(text, voice=voice, rate=rate) for voice in VOICES for rate in RATES]
        found[f'"{text}"'] = [
            pcm for pcm in every if lasts(loud(pcm, -14)) >= threshold_ms - EARLY_MS
        ]
    return {name: sounds for name, sounds in found.items() if sounds}


def lasts(pcm: bytes) -> float:
    """Milliseconds from the first sample above -50 dBFS to the last."""
    ear = Ear(RATE, loud=QUIET)
    ear.listen(pcm + bytes(320))
    if ear.first is None or ear.last is None:
        return 0.0
    return (ear.last - ear.first) / RATE * 1000


def outcome(name: str, lasts_ms: float, call: SimulatedCall) -> Outcome:
    leg = call.leg
    if not leg.clears:
        return Outcome(name, lasts_ms, None)
    tape = call.tape()
    ear = Ear(RATE, loud=QUIET)
    ear.listen(tape.said)
    assert ear.first is not None, "the caller was heard"
    silent_from = leg.play.sample(leg.clears[0])
    last = next(
        span.end for span in reversed(tape.heard_spans(gap_ms=20)) if span.end <= silent_from
    )
    return Outcome(name, lasts_ms, (last - ear.first) / RATE * 1000)


async def overlaid(
    sounds: Sequence[tuple[str, bytes]], threshold_ms: int, chance: random.Random
) -> list[Outcome]:
    """Make each sound over the agent's words, in a call of its own."""
    agent = build_agent(
        "",
        None,
        stt=ScriptedSTT([]),
        tts=ScriptedTTS(),
        llm=ScriptedLLM(["Yes."]),
        first_message=GREETING,
        barge_in_threshold_ms=threshold_ms,
    )
    found: list[Outcome] = []
    async with Simulation(agent) as phone:
        for at in range(0, len(sounds), AT_ONCE):
            calls: list[tuple[str, float, SimulatedCall]] = []
            for name, pcm in sounds[at : at + AT_ONCE]:
                sound = on_a_line(loud(pcm, chance.uniform(-26, -14)), chance)
                steps = (
                    interrupt_after(chance.uniform(400, 1400)),
                    say(sound),
                    wait(300),
                    hang_up(),
                )
                call = phone.ring(Caller(*steps, voice=babble))
                calls.append((name, lasts(sound), call))
                await asyncio.sleep(chance.uniform(0, 0.05))
            for name, lasts_ms, call in calls:
                await call.ended()
                found.append(outcome(name, lasts_ms, call))
        assert not phone.problems
    return found


async def interruptions(
    n: int, threshold_ms: int, voices: Sequence[str] = VOICES, says: Sequence[str] = SAYS
) -> list[Outcome]:
    chance = random.Random(threshold_ms)
    sounds: list[tuple[str, bytes]] = []
    for number in range(n):
        voice = voices[number % len(voices)]
        text = says[number // len(voices) % len(says)]
        rate = chance.choice(RATES)
        sounds.append((voice, await speech(text, voice=voice, rate=rate)))
    return await overlaid(sounds, threshold_ms, chance)


async def made_over(sounds: Mapping[str, list[bytes]], threshold_ms: int) -> list[Outcome]:
    each = [(name, pcm) for name, every in sounds.items() for pcm in every]
    return await overlaid(each, threshold_ms, random.Random(threshold_ms))


async def false_alarms(threshold_ms: int) -> list[Outcome]:
    return await made_over(await noises(threshold_ms), threshold_ms)


async def unseen_alarms(threshold_ms: int) -> list[Outcome]:
    """Sounds as in `noises`, made with other lengths, pitches and dice."""
    sounds = {
        "cough": [coughed(seed=seed) for seed in range(100, 115)],
        "hiss": [hiss(ms, int(ms) + 7) for ms in (150, 250, 450, 900)],
        "hum": [hummed(ms, hz=hz) for ms in (250, 450, 700) for hz in (100.0, 125.0, 180.0, 240.0)],
        "mm-hm": [closed_mouth(ms, n) for ms in (320, 450, 550, 750) for n in range(100, 110)],
    }
    return await made_over(sounds, threshold_ms)


async def long_murmurs(threshold_ms: int) -> list[Outcome]:
    return await made_over(await murmurs(threshold_ms), threshold_ms)


def report_delays(threshold_ms: int, found: Sequence[Outcome]) -> float:
    delays = [each.delay_ms for each in found if each.delay_ms is not None]
    missed = len(found) - len(delays)
    p95 = percentile(delays, 95)
    print(
        f"threshold {threshold_ms} ms: delay p50 {percentile(delays, 50):.0f}, p95 {p95:.0f}, "
        f"p99 {percentile(delays, 99):.0f}, {min(delays):.0f} to {max(delays):.0f} ms "
        f"(n={len(found)}, never stopped: {missed})"
    )
    for voice in dict.fromkeys(each.name for each in found):
        own = [each.delay_ms for each in found if each.name == voice and each.delay_ms is not None]
        if own:
            print(
                f"    {voice:14} p50 {percentile(own, 50):4.0f}  max {max(own):4.0f}  n={len(own)}"
            )
    return p95


def report_alarms(title: str, found: Sequence[Outcome]) -> int:
    print(title)
    total = 0
    for name in dict.fromkeys(each.name for each in found):
        own = [each for each in found if each.name == name]
        wrong = [each for each in own if each.delay_ms is not None]
        total += len(wrong)
        lengths = (
            f"{min(each.lasts_ms for each in own):.0f} to {max(e.lasts_ms for e in own):.0f} ms"
        )
        which = " ".join(f"{each.lasts_ms:.0f}" for each in wrong)
        print(
            f"    {name:14} {len(wrong):2} of {len(own):2} stopped the agent   ({lengths}) {which}"
        )
    return total


def main() -> None:
    quick = options(__doc__ or "").quick
    for threshold_ms in THRESHOLDS_MS:
        found = virtual_time.run(interruptions(24 if quick else 144, threshold_ms))
        p95 = report_delays(threshold_ms, found)
        alarms = report_alarms(
            "  sounds that are no interruption:", virtual_time.run(false_alarms(threshold_ms))
        )
        if not quick:
            report_alarms(
                "  open-mouthed murmurs as long as the threshold, which count as speech:",
                virtual_time.run(long_murmurs(threshold_ms)),
            )
        if threshold_ms == THRESHOLDS_MS[0]:
            verdict(
                f"p95 <= {AIM_P95_MS:g} ms at the default and no false interruption",
                is_met=p95 <= AIM_P95_MS and not alarms,
            )
        print()
    if not quick:
        print("voices, sentences and sounds on which no setting was chosen")
        threshold_ms = THRESHOLDS_MS[0]
        report_delays(
            threshold_ms,
            virtual_time.run(interruptions(144, threshold_ms, UNSEEN_VOICES, UNSEEN_SAYS)),
        )
        report_alarms(
            "  sounds that are no interruption:", virtual_time.run(unseen_alarms(threshold_ms))
        )


if __name__ == "__main__":
    main()
