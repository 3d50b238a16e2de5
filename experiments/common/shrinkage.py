"""Wavelet thresholding averaged over shifts (Coifman & Donoho 1995, cycle spinning)."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pywt

# One shift for each phase of the coarsest scale but one; more change the third digit only.
SHIFTS = 8


@dataclass(frozen=True)
class WaveletSetting:
    """A wavelet, its levels, how coefficients shrink, and the multiple of the universal threshold."""

    wavelet: str
    levels: int
    rule: str
    multiple: float


WAVELET_GRID = tuple(
    WaveletSetting(*choice)
    for choice in itertools.product(
        ("db4", "sym4", "sym8", "coif3"),
        (2, 3, 4),
        ("soft", "hard", "garrote"),
        (0.3, 0.5, 0.7, 0.85, 1.0, 1.2),
    )
)


def wavelet_denoise(noisy: np.ndarray, setting: WaveletSetting) -> np.ndarray:
    """Threshold the wavelet coefficients of each row and average the answers over shifts.

    The threshold is `multiple` * sigma * sqrt(2 log(samples)) (Donoho & Johnstone 1994), sigma estimated for
    each row as the median absolute detail coefficient of the finest scale over 0.6745.

    Parameters
    ----------
    noisy : array, shape (rows, samples)
        Signals.
    setting : WaveletSetting
        One of the grid, or any other.
    """
    samples = noisy.shape[1]
    padded = np.pad(noisy, ((0, 0), (SHIFTS, SHIFTS)), mode="symmetric")
    total = np.zeros_like(noisy, dtype=float)
    for shift in range(SHIFTS):
        estimate = _denoise_once(padded[:, shift:], setting)
        total += estimate[:, SHIFTS - shift : SHIFTS - shift + samples]
    return total / SHIFTS


def _denoise_once(noisy: np.ndarray, setting: WaveletSetting) -> np.ndarray:
    coarse, *details = pywt.wavedec(noisy, setting.wavelet, level=setting.levels, axis=1)
    sigma = np.median(np.abs(details[-1]), axis=1, keepdims=True) / 0.6745
    threshold = setting.multiple * sigma * math.sqrt(2 * math.log(noisy.shape[1]))
    shrunk = [_shrink(detail, threshold, setting.rule) for detail in details]
    return pywt.waverec([coarse, *shrunk], setting.wavelet, axis=1)[:, : noisy.shape[1]]


def _shrink(detail: np.ndarray, threshold: np.ndarray, rule: str) -> np.ndarray:
    size = np.abs(detail)
    kept = size > threshold
    if rule == "hard":
        return np.where(kept, detail, 0.0)
    if rule == "soft":
        return np.where(kept, detail - threshold * np.sign(detail), 0.0)
    # The non-negative garrote: continuous like soft, with a bias that vanishes for large coefficients.
    return np.where(kept, detail - threshold**2 / np.where(kept, detail, 1.0), 0.0)
