"""How well the embedded recogniser understands callers over a simulated phone line.

    python benchmarks/offline_speech.py              all tables, about five minutes on one core
    python benchmarks/offline_speech.py --quick      fewer repetitions, under a minute
    python benchmarks/offline_speech.py --sounds DIR  also every WAV file of a folder (none is in the grammar)

Needs `pip install 'getpatter[offline]'`. A caller is the embedded voice, 8 kHz mu-law, with -45 dBov of white
noise, a level of -26, -20 or -14 dBov and a random start within a 20 ms frame, after 300 ms of silence. Every
utterance is the first of a fresh call. Both ends are synthetic and the sentences are ours: people on real
lines do worse.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import subprocess
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from getpatter.audio import resampled
from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.stt.local import LocalSTT
from getpatter.tts.local import LocalTTS
from getpatter.types import MULAW_8K, PCM16_8K

DESK = """
day = monday | tuesday | wednesday | thursday | friday
[hello] (i would like to | i want to | i need to | can i) (book | change | cancel) (an | my) appointment [please]
(book | change | cancel) (an | my) appointment [please]
[on | how about | make it | make that] [next] <day> [please | instead | morning | afternoon]
[in] [the] (morning | afternoon) [please]
yes [please | that is (right | correct | fine)]
that is (right | correct | fine)
no [thank you | that is wrong | that is not right]
what are your opening hours | when are you open
can i speak to somebody | can you say that again | repeat that please
[thank you] goodbye | thank you [very much]
"""

SCRIPT = """
i would like to book an appointment
on tuesday please
make it thursday instead
yes that is right
"""

INSIDE = (
    SCRIPT
    + """
i want to book an appointment
book an appointment please
i need to change my appointment
cancel my appointment please
can i cancel my appointment
on monday please
tuesday please
tuesday
on wednesday please
how about wednesday
thursday please
make that thursday instead
thursday instead
on friday please
make it friday
in the morning please
in the afternoon please
morning
afternoon please
yes
yes please
yes that is correct
that is correct
no
no that is wrong
no thank you
thank you goodbye
goodbye
what are your opening hours
when are you open
can i speak to somebody
can you say that again
repeat that please
"""
)

OUTSIDE = """
the quick brown fox jumps over the lazy dog
what is the weather like in london today
please play some music for me
my name is alexander and my account number is forty two
how much does it cost to send a parcel to germany
one two three four five six seven
i have lost my keys and i cannot get into the house
the train leaves at half past eleven
can you tell me a joke
do you sell bicycles
my dog is sick and needs a doctor
i do not understand what you mean
turn off the lights in the kitchen
banana
computer
excuse me
um let me think about that
pizza with extra cheese
october
seventeen
maybe
perhaps later
never mind
i am looking at the calendar
hm
i would like to order a taxi
book a flight to paris
change my address
cancel my subscription
on saturday morning
"""

VOICES = (
    "en-us+adam",
    "en-us+edward2",
    "en-us+klatt6",
    "en-us+benjamin",
    "en-us+Diogo",
    "en-us+Hugo",
    "en-us+f2",
    "en-us",
    "en-gb-x-rp",
)
FLITE_VOICES = ("flite slt", "flite rms", "flite awb", "flite kal16")
"""Used as well where the program `flite` is installed."""
LEVELS = (-26.0, -20.0, -14.0)
NOISE = -45.0


def lines(text: str) -> list[str]:
    """The lines that are not empty."""
    return [line for line in text.splitlines() if line.strip()]


def over_the_phone(pcm: bytes, level: float, chance: random.Random) -> bytes:
    """PCM16 8 kHz as a mu-law line delivers it: silence before and after, at that level, with noise."""
    speech = np.frombuffer(pcm, "<i2").astype(np.float64)
    loudness = 20 * np.log10(np.sqrt(np.mean(speech**2)) / 32768 + 1e-9)
    before = 2400 + chance.randrange(160)
    line = np.concatenate(
        (np.zeros(before), speech * 10 ** ((level - loudness) / 20), np.zeros(3200))
    )
    noise = np.random.default_rng(chance.getrandbits(32)).standard_normal(line.size)
    line += noise * 32768 * 10 ** (NOISE / 20)
    return pcm16_to_mulaw(np.clip(line, -32768, 32767).astype("<i2").tobytes())


def wrong_words(said: str, heard: str) -> int:
    """Insertions, deletions and substitutions."""
    row = list(range(len(heard.split()) + 1))
    for i, word in enumerate(said.split(), 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard.split(), 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


class Score:
    """What became of many utterances."""

    def __init__(self) -> None:
        self.said = self.exact = self.empty = self.words = self.errors = 0
        self.wrong: Counter[str] = Counter()
        self.each: Counter[str] = Counter()

    def add(self, said: str, heard: str) -> None:
        """One utterance."""
        self.said += 1
        self.exact += said == heard
        self.empty += not heard
        self.words += len(said.split())
        self.errors += wrong_words(said, heard)
        if said != heard:
            self.wrong[f"{said} -> {heard or '(nothing)'}"] += 1
            self.each[said] += 1

    def __str__(self) -> str:
        return (
            f"{100 * self.exact / self.said:5.1f} % exact, WER {100 * self.errors / self.words:4.1f} %, "
            f"nothing {100 * self.empty / self.said:4.1f} %   (n={self.said})"
        )


async def spoken(tts: LocalTTS, text: str) -> bytes:
    """All the sound of a line."""
    return b"".join([pcm async for pcm in tts.synthesize(text)])


def spoken_by_flite(voice: str, text: str) -> bytes:
    """PCM16 8 kHz of a line by Debian's flite, whose voices are made of recordings of people."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", file.name], check=True)
        with wave.open(file.name) as recording:
            pcm = recording.readframes(recording.getnframes())
            return resampled(pcm, recording.getframerate(), 8000)


async def heard(stt: LocalSTT, audio: bytes) -> str:
    """What a fresh call makes of it."""
    return " ".join(result.text for result in await stt.transcribe(audio))


async def trial(
    stt: LocalSTT, voice: str, rate: int, texts: Iterable[str], levels: Iterable[float], times: int
) -> Score:
    """Say every line `times` times at each level."""
    chance, score = random.Random(7), Score()
    flite = voice.removeprefix("flite ") if voice.startswith("flite ") else ""
    tts = LocalTTS(voice="en-us" if flite else voice, rate=rate, output_format=PCM16_8K)
    for text in texts:
        if flite:
            pcm = await asyncio.to_thread(spoken_by_flite, flite, text)
        else:
            pcm = await spoken(tts, text)
        for level in levels:
            for _ in range(times):
                score.add(text, await heard(stt, over_the_phone(pcm, level, chance)))
    await tts.close()
    return score


async def sounds(stt: LocalSTT, files: list[Path]) -> None:
    """What becomes of recordings that are not in the grammar."""
    for path in files:
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2:
                continue
            frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            mono = frames.reshape(-1, file.getnchannels())[:, 0].tobytes()
            audio = pcm16_to_mulaw(resampled(mono, file.getframerate(), 8000))
        results = await stt.transcribe(audio)
        shown = [(result.text, round(result.confidence, 2)) for result in results]
        print(f"  {path.name:24s} {shown or 'nothing'}")


async def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description="accuracy of the embedded speech")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--sounds", type=Path)
    chosen = options.parse_args()
    times = 1 if chosen.quick else 3
    stt = LocalSTT(grammar=DESK, input_format=MULAW_8K)
    keep_all = LocalSTT(grammar=DESK, input_format=MULAW_8K, min_confidence=0)
    voices = VOICES + (FLITE_VOICES if shutil.which("flite") else ())
    keep = LocalTTS()
    await keep.warmup()

    print(
        "The demonstration's lines, voice en-us+adam, 165 words a minute, 20 times at random levels"
    )
    for text in lines(SCRIPT):
        levels = [random.Random(i).uniform(-26, -14) for i in range(20)]
        print(f"  {text:40s} {await trial(stt, 'en-us+adam', 165, [text], levels, 1)}")

    print(f"\nSentences of the grammar ({len(lines(INSIDE))}), by voice")
    for voice in voices:
        score = await trial(stt, voice, 165, lines(INSIDE), LEVELS, times)
        print(f"  {voice:16s} {score}")
        for wrong, count in score.wrong.most_common(3):
            print(f"      {count} x {wrong}")

    print("\nBy rate, voice en-us+adam")
    for rate in (130, 150, 165, 180, 200):
        print(f"  {rate:4d}  {await trial(stt, 'en-us+adam', rate, lines(INSIDE), LEVELS, 1)}")

    print(f"\nSentences that are not in the grammar ({len(lines(OUTSIDE))}): 'nothing' is right")
    for voice in voices[:4] if chosen.quick else voices:
        with_doubt = await trial(stt, voice, 165, lines(OUTSIDE), (-20.0,), 1)
        without = await trial(keep_all, voice, 165, lines(OUTSIDE), (-20.0,), 1)
        print(
            f"  {voice:16s} nothing {100 * with_doubt.empty / with_doubt.said:5.1f} %"
            f"   (min_confidence=0: {100 * without.empty / without.said:5.1f} %)"
        )

    audio = over_the_phone(
        await spoken(LocalTTS(output_format=PCM16_8K), lines(INSIDE)[0]), -20, random.Random(1)
    )
    begun = time.process_time()
    for _ in range(20):
        await stt.transcribe(audio)
    took = (time.process_time() - begun) / 20
    print(
        f"\nCPU: {1000 * took:.0f} ms for {len(audio) / 8:.0f} ms of call, models loaded anew each time"
    )
    if chosen.sounds:
        print(f"\nForeign recordings of {chosen.sounds.name}")
        await sounds(stt, sorted(chosen.sounds.glob("*.wav")))
    await keep.close()


if __name__ == "__main__":
    asyncio.run(main())
