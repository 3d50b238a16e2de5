"""Small tables of the two denoising studies."""

import pandas as pd

METHODS = ("total_variation", "optnet_tuned_tv", "optnet_pure", "fully_connected", "optnet_stencils")
ECG = ("noisy", "total_variation", "wavelet", "linear_filter", "fully_connected", "optnet_tuned_tv")


def metrics():
    labels = {"experiment": "denoising", "unit": "signal unit squared"}
    rows = [
        {
            **labels,
            "method": method,
            "seed": seed,
            "split": split,
            "step": step,
            "metric": "mse",
            "value": 20 - step + seed,
        }
        for method in METHODS[1:]
        for seed in (0, 1)
        for split in ("train", "validation", "test")
        for step in range(4)
    ]
    final = {"split": "test", "step": 0, "metric": "final_mse"}
    rows += [
        {**labels, **final, "method": method, "seed": seed, "value": 16.0 + seed}
        for method in ("total_variation", "total_variation_on_test")
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def signals(experiment, methods, count):
    labels = {"experiment": experiment, "seed": 0, "unit": "1"}
    return pd.DataFrame(
        [
            {**labels, "method": method, "signal": signal, "index": index, "value": index % 4 + place}
            for place, method in enumerate(methods)
            for signal in range(count)
            for index in range(8)
        ]
    )


def matrices():
    labels = {"experiment": "denoising", "seed": 0, "unit": "1"}
    return pd.DataFrame(
        [
            {
                **labels,
                "method": method,
                "matrix": name,
                "row": i,
                "column": j,
                "value": (i == j) - 0.5 * (i + 1 == j),
            }
            for method in ("optnet_pure", "optnet_tuned_tv")
            for name in ("initial", "final")
            for i in range(4)
            for j in range(5)
        ]
    )


def summary():
    labels = {"split": "test", "metric": "output_snr", "seeds": 2, "unit": "dB"}
    return pd.DataFrame(
        [
            {
                **labels,
                "experiment": f"denoising_ecg_{snr}dB",
                "method": method,
                "mean": 9.0,
                "lo": 8.0,
                "hi": 10.0,
            }
            for snr in (5, 10)
            for method in ECG
        ]
    )


def write(root):
    study, ecg = root / "denoising" / "companion" / "auto", root / "denoising_ecg" / "companion" / "auto"
    study.mkdir(parents=True)
    ecg.mkdir(parents=True)
    metrics().to_csv(study / "metrics.csv", index=False)
    signals("denoising", ("clean", "noisy", *METHODS), 3).to_csv(study / "signals.csv", index=False)
    matrices().to_csv(study / "matrices.csv", index=False)
    both = [signals(f"denoising_ecg_{snr}dB", ("clean", *ECG), 1) for snr in (5, 10)]
    pd.concat(both).to_csv(ecg / "signals.csv", index=False)
    summary().to_csv(ecg / "summary.csv", index=False)
