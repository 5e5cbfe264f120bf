"""Confidence intervals of metrics: Wilson's for proportions, the bootstrap for the rest."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Iterator

import numpy as np

# Numbers drawn at a time: 2 million of 8 bytes, whatever the number of images.
_BLOCK = 2_000_000

Interval = list[float]  # [low, high], as metrics.json has it


@dataclasses.dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        confidence: Coverage of each interval.
        samples: Resamples of a bootstrap.
        seed: Of the generator; each interval starts with it anew, so that no interval depends
            on which others there are.
    """

    confidence: float = 0.95
    samples: int = 2_000
    seed: int = 0

    def generator(self) -> np.random.Generator:
        """A generator at its start."""
        return np.random.default_rng(self.seed)

    def blocks(self, width: int) -> Iterator[int]:
        """Numbers of samples that add up to `samples`, each of few enough for memory.

        Args:
            width: Numbers that one sample takes.
        """
        step = max(1, min(self.samples, _BLOCK // max(width, 1)))
        for done in range(0, self.samples, step):
            yield min(step, self.samples - done)

    def weighted_sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of values [N, K] over each resample of the N rows: [S, K] float64.

        The weight of each row in a resample is Poisson(1) (Hanley and MacGibbon 2006): divide by
        the sum of a column of ones to have means.
        """
        generator = self.generator()
        values = values.astype(np.float32)
        parts = []
        for size in self.blocks(len(values)):
            drawn = np.frombuffer(generator.bytes(2 * size * len(values)), np.uint16)
            weights = _poisson_weights()[drawn].reshape(size, len(values))
            parts.append((weights @ values).astype(np.float64))
        return np.concatenate(parts)

    def percentile(self, samples: np.ndarray, value: float) -> Interval | None:
        """Percentile interval (Efron 1979) of resampled values [S], stretched to hold `value`.

        Resamples in which the metric is not defined (NaN) are left out; None where it never is.
        """
        defined = samples[~np.isnan(samples)]
        if not len(defined):
            return None
        low, high = np.quantile(defined, self._tails)
        return [float(min(low, value)), float(max(high, value))]

    def reflected(self, samples: np.ndarray, value: float) -> Interval | None:
        """Basic interval, 2 value - percentiles, in [0, 1], stretched to hold `value`.

        For metrics that noise only raises: resampling adds that noise once more, so that the
        percentiles lie as far above the value as the value above the truth (Davison and Hinkley
        1997, 5.2.1).
        """
        defined = samples[~np.isnan(samples)]
        if not len(defined):
            return None
        low, high = np.quantile(defined, self._tails)
        return [
            float(max(0.0, min(2 * value - high, value))),
            float(min(1.0, max(2 * value - low, value))),
        ]

    @property
    def _tails(self) -> tuple[float, float]:
        return (1 - self.confidence) / 2, (1 + self.confidence) / 2


def wilson(successes: float, trials: float, confidence: float) -> Interval | None:
    """Wilson score interval of a proportion (Wilson 1927); None without a trial.

    Counts may be fractional, which answers "what if there were more images like these".
    """
    if trials == 0:
        return None
    z_squared = _z(confidence) ** 2
    rate = successes / trials
    scale = 1 / (1 + z_squared / trials)
    centre = scale * (rate + z_squared / (2 * trials))
    spread = rate * (1 - rate) / trials + z_squared / (4 * trials * trials)
    half = scale * math.sqrt(z_squared * spread)
    # At rate 0 and 1 a limit equals the rate, up to rounding.
    return [min(max(centre - half, 0.0), rate), max(min(centre + half, 1.0), rate)]


@functools.cache
def _poisson_weights() -> np.ndarray:
    """[65536] float32: Poisson(1) numbers, each as often as its probability says, to 1e-5.

    A lookup by random 16 bits takes a tenth of the time of `Generator.poisson`.
    """
    probabilities = [math.exp(-1) / math.factorial(number) for number in range(12)]
    quantiles = (np.arange(2**16) + 0.5) / 2**16
    return np.searchsorted(np.cumsum(probabilities), quantiles).astype(np.float32)


@functools.cache
def _z(confidence: float) -> float:
    return statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
