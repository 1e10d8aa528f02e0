"""Altered sounds: songs as they come from other places, written as files, to see what a model makes of them.

Each alteration takes a song as a file holds it, all channels, and gives the bytes of another file. What is decoded from
that file is then what a listener's copy of the song would give: quieter, through a lossy codec, over the telephone.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import soundfile
import soxr

from transforms.audio.mp3 import SAMPLE_RATES, encode_mp3, fit_bitrate

BLOCK = 1 << 16  # samples that are encoded at once: libsndfile keeps a whole block of Vorbis on its stack

TELEPHONE = (300.0, 3_400.0, 8_000)  # band and sample rate of the telephone, in Hz (ITU-T G.711, G.712)


@dataclass(frozen=True)
class Sound:
    """A song, decoded."""

    samples: np.ndarray  # float32 [n, channels]
    rate: int  # Hz
    window_seconds: float  # least length that a model can do something with
    seed: int  # of what is random

    def as_wav(self, subtype: str = "PCM_16") -> bytes:
        """Return a WAV file; "FLOAT" keeps the samples as they are, others clip them to [-1, 1)."""
        return self._encode("WAV", subtype)

    def as_mp3(self, kilobits: int) -> bytes:
        """Return an mp3 file of a constant bitrate, by LAME."""
        sound = self.stereo() if self.rate in SAMPLE_RATES else self.stereo().at_rate(44_100)
        return encode_mp3(sound.samples, sound.rate, fit_bitrate(kilobits, sound.rate))

    def as_vorbis(self, quality: float) -> bytes:
        """Return an Ogg Vorbis file; the quality is from 0 to 1, in tenths as oggenc has them."""
        return self.stereo()._encode("OGG", "VORBIS", compression_level=1 - quality)

    def at_rate(self, rate: int) -> "Sound":
        """Return the sound at another sample rate, which also is its bandwidth where it is lower."""
        return self if rate == self.rate else replace(self, samples=self._resampled(self.rate, rate), rate=rate)

    def limited_to(self, hertz: int) -> "Sound":
        """Return the sound without what is above a frequency, at the rate that it has."""
        rate = 2 * hertz
        return self if rate >= self.rate else self.at_rate(rate).at_rate(self.rate)

    def louder(self, decibels: float) -> "Sound":
        """Return the sound with a gain; files of integers then clip it."""
        return replace(self, samples=self.samples * np.float32(10 ** (decibels / 20)))

    def slower(self, share: float) -> "Sound":
        """Return the sound as from a record that turns slower: longer by that share, and lower in pitch."""
        return replace(self, samples=self._resampled(1.0, 1.0 + share))

    def noisy(self, decibels: float) -> "Sound":
        """Return the sound with white noise, so many dB below its mean power."""
        deviation = np.sqrt(np.mean(np.square(self.samples, dtype=np.float64))) * 10 ** (-decibels / 20)
        noise = np.random.default_rng(self.seed).standard_normal(self.samples.shape, np.float32)
        return replace(self, samples=self.samples + np.float32(deviation) * noise)

    def later(self) -> "Sound":
        """Return the sound from half a window on, or as much later as leaves one window."""
        spare = len(self.samples) / self.rate - self.window_seconds
        start = int(self.rate * max(0.0, min(self.window_seconds / 2, spare - 0.1)))
        return replace(self, samples=self.samples[start:])

    def telephoned(self) -> bytes:
        """Return a WAV file of what a telephone lets through: one channel at 8 kHz, 300 to 3,400 Hz, mu-law."""
        from scipy.signal import butter, sosfilt

        low, high, rate = TELEPHONE
        mono = replace(self, samples=self.samples.mean(axis=1, keepdims=True)).at_rate(rate)
        band = butter(4, (low, high), "bandpass", fs=rate, output="sos")
        return replace(mono, samples=sosfilt(band, mono.samples, axis=0).astype(np.float32)).as_wav("ULAW")

    def stereo(self) -> "Sound":
        """Return the sound with at most two channels: more are mixed to one."""
        many = self.samples.shape[1] > 2
        return replace(self, samples=self.samples.mean(axis=1, keepdims=True)) if many else self

    def _resampled(self, rate: float, target: float) -> np.ndarray:
        return soxr.resample(self.samples, rate, target)

    def _encode(self, form: str, subtype: str, **settings: float | str) -> bytes:
        file = io.BytesIO()
        channels = self.samples.shape[1]
        with soundfile.SoundFile(file, "w", self.rate, channels, format=form, subtype=subtype, **settings) as encoder:
            for start in range(0, len(self.samples), BLOCK):
                encoder.write(self.samples[start : start + BLOCK])
        return file.getvalue()


@dataclass(frozen=True)
class Alteration:
    """A way to alter songs."""

    name: str  # in files
    title: str  # for people
    render: Callable[[Sound], bytes]  # from a song to the bytes of a file


UNCHANGED = "unchanged"

_TABLE = (
    Alteration(UNCHANGED, "unchanged", partial(Sound.as_wav, subtype="FLOAT")),
    Alteration("quiet", "gain -20 dB", lambda sound: sound.louder(-20).as_wav()),
    Alteration("loud", "gain +6 dB, clipped", lambda sound: sound.louder(6).as_wav()),
    Alteration("mp3", "mp3 at 64 kb/s", lambda sound: sound.as_mp3(64)),
    Alteration("vorbis", "Ogg Vorbis, quality 2", lambda sound: sound.as_vorbis(0.2)),
    Alteration("22khz", "sample rate 22.05 kHz", lambda sound: sound.at_rate(min(22_050, sound.rate)).as_wav()),
    Alteration("low_pass", "low-pass at 4 kHz", lambda sound: sound.limited_to(4_000).as_wav()),
    Alteration("telephone", "telephone, 8 kHz", Sound.telephoned),
    Alteration("noise", "white noise at -20 dB", lambda sound: sound.noisy(20).as_wav()),
    Alteration("slow", "3% slower and lower", lambda sound: sound.slower(0.03).as_wav()),
    Alteration("later", "begins half a window later", lambda sound: sound.later().as_wav()),
)
ALTERATIONS = {alteration.name: alteration for alteration in _TABLE}
"""Every alteration, by name; the first one alters nothing."""
