"""Distributions as counts in fixed bins, and the effect sizes between two of them. No p-values: on many rows anything
is significant, and nothing that is significant need matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

QUANTILES = np.linspace(0.1, 0.9, 9)
MIN_ATOM = 0.02  # share of the rows from which one value has a bin of its own


def make_edges(values: Floats) -> Floats:
    """Return the edges of bins for numbers: the deciles, common values' own bins, and what lies beyond the range.

    Bin i holds the numbers from edge i - 1 up to, and without, edge i. No edges where there are no values.
    """
    if not len(values):
        return np.empty(0)
    distinct, counts = np.unique(values, return_counts=True)
    deciles = distinct[np.searchsorted(np.cumsum(counts), QUANTILES * len(values))]
    atoms = distinct[counts >= MIN_ATOM * len(values)]
    starts = np.concatenate([deciles, atoms, distinct[:1]])
    return np.unique(np.concatenate([starts, np.nextafter(np.append(atoms, distinct[-1]), np.inf)]))


def count_numbers(values: Floats, edges: Floats) -> Counts:
    """Count the values in each of the `len(edges) + 1` bins."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def psi(reference: Counts, now: Counts) -> float:
    """Return the population stability index of two distributions over the same bins: sum of (q - p) ln(q / p).

    0 for equal shares; by common practice 0.1 is a small shift, 0.25 a large one. Half a row is added to each bin, so
    that an empty one is no infinity (Jeffreys' prior); bins that are empty in both do not count.
    """
    used = (reference + now) > 0
    p, q = ((counts[used] + 0.5) / (counts.sum() + 0.5 * used.sum()) for counts in (reference, now))
    return float(((q - p) * np.log(q / p)).sum())


def psi_by_chance(reference: Counts, now: Counts) -> float:
    """Return the PSI to expect of two samples of one distribution: (bins - 1) (1/n + 1/m), Yurdakul (2018)."""
    bins = int(((reference + now) > 0).sum())
    return float((bins - 1) * (1 / max(reference.sum(), 1) + 1 / max(now.sum(), 1)))


def distance(reference: Counts, now: Counts) -> float:
    """Return the largest difference of the cumulative shares at the bins' edges (Kolmogorov-Smirnov's D), 0 to 1."""
    shares = (np.cumsum(counts) / max(counts.sum(), 1) for counts in (reference, now))
    return float(np.abs(np.subtract(*shares)).max(initial=0.0))


def apart(reference: Floats, now: Floats) -> tuple[float, float]:
    """Return how far two samples of numbers lie apart, and how far samples of one distribution would, on average.

    It is the Wasserstein distance, the integral of |F - G|, in standard deviations of the reference; unlike the PSI it
    does not grow where numbers that are nearly the same change order. By chance F - G is about normal with the variance
    F (1 - F) (1/n + 1/m), of which the mean absolute value is integrated (del Barrio, Giné and Matrán, 1999). Infinite
    where the reference is one number and the sample is not that one. No sample may be empty.
    """
    merged = np.sort(np.concatenate([reference, now]))
    widths = np.diff(merged)
    f, g, both = (
        np.searchsorted(np.sort(values), merged[:-1], side="right") / len(values) for values in (reference, now, merged)
    )
    distance = float(np.abs(f - g) @ widths)
    chance = float(np.sqrt(2 / np.pi * both * (1 - both) * (1 / len(reference) + 1 / len(now))) @ widths)
    deviation = float(reference.std())
    if not deviation:
        return (np.inf if distance else 0.0), 0.0
    return distance / deviation, chance / deviation
