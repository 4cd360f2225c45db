"""Writes maps.npz and figures.json: what PySODMetrics says of some small maps.

To regenerate, in an environment of its own, since its pins clash with ours:
    pip install pysodmetrics==1.6.2 && python tests/train/oracles/make_oracles.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from py_sod_metrics import MAE, Emeasure, Fmeasure, Smeasure, WeightedFmeasure

HERE = Path(__file__).parent


def spread(values):
    """Stretched to 0..255, as PySODMetrics does to every map, so that both judge the same one."""
    values = values.astype(np.float64)
    return np.round((values - values.min()) / (values.max() - values.min()) * 255).astype(np.uint8)


def maps():
    """Name, map and mask, both uint8."""
    rng = np.random.default_rng(3)
    disc = np.zeros((61, 83), np.uint8)
    cv2.circle(disc, (50, 28), 17, 255, -1)
    two = np.zeros((70, 64), np.uint8)
    cv2.rectangle(two, (4, 6), (20, 40), 255, -1)
    cv2.ellipse(two, (46, 50), (13, 9), 30, 0, 360, 255, -1)
    edge = np.zeros((40, 97), np.uint8)
    edge[22:, :60] = 255
    noise = rng.integers(0, 256, disc.shape).astype(np.uint8)
    soft = cv2.GaussianBlur(disc, (0, 0), 4)
    yield "exact", disc, disc
    yield "soft", spread(soft), disc
    yield "shifted", spread(np.roll(cv2.GaussianBlur(two, (0, 0), 2), (5, -7), (0, 1))), two
    yield "noisy", spread(0.6 * soft + 0.4 * noise), disc
    yield "noise", spread(noise), disc
    yield "inverted", 255 - two, two
    yield "at the border", spread(cv2.GaussianBlur(edge, (0, 0), 6)), edge
    yield "small", spread(cv2.resize(noise[:6, :8], (83, 61), interpolation=cv2.INTER_CUBIC)), disc
    yield "empty mask", spread(soft), np.zeros_like(disc)
    yield "full mask", spread(255 - soft), np.full_like(disc, 255)


def figures(pairs):
    """PySODMetrics over one or several pairs."""
    judges = {"mae": MAE(), "f": Fmeasure(), "weighted_f": WeightedFmeasure(), "s_measure": Smeasure(), "e": Emeasure()}
    for judge in judges.values():
        for prediction, mask in pairs:
            judge.step(pred=prediction, gt=mask)
    f, e = (judges[name].get_results()[key]["curve"] for name, key in (("f", "fm"), ("e", "em")))
    return {
        "mae": judges["mae"].get_results()["mae"],
        "weighted_f": judges["weighted_f"].get_results()["wfm"],
        "s_measure": judges["s_measure"].get_results()["sm"],
        "max_f_per_image": f.max(),
        "mean_f_per_image": f.mean(),
        "max_e": e.max(),
        "mean_e": e.mean(),
    }


if __name__ == "__main__":
    named = {name: (prediction, mask) for name, prediction, mask in maps()}
    found = {name: figures([pair]) for name, pair in named.items()} | {"all": figures(named.values())}
    rounded = {name: {key: round(float(value), 8) for key, value in row.items()} for name, row in found.items()}
    told = {"made with": f"pysodmetrics {version('pysodmetrics')}", "figures": rounded}
    (HERE / "figures.json").write_text(json.dumps(told, indent=1) + "\n")
    np.savez_compressed(HERE / "maps.npz", **{name: np.stack(pair) for name, pair in named.items()})
