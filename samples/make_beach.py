"""Render samples/beach.jpg: a sunny beach made of noise, so that no one else's rights are in it.

    python samples/make_beach.py -o samples

A pinhole camera stands on a flat shore. Every pixel below the horizon is carried to the ground
plane, where smooth noise draws sand, foam and waves; the sky gets a gradient and soft clouds.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

WIDTH, HEIGHT, HORIZON = 1920, 1080, 470.0
FOCAL, EYE = 2100.0, 1.8  # focal length in pixels, eye height in metres
TILE = np.random.default_rng(7).standard_normal((512, 512)).astype(np.float32)


def noise(u: Array, v: Array, footprint: Array | float = 0.0) -> Array:
    """Draw smooth noise, one grain per unit; it fades where a pixel covers more than half a grain."""
    x, y = np.mod([u, v], 512.0).astype(np.float32)
    value = cv2.remap(TILE, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return np.asarray(value * np.exp(-4.0 * np.square(footprint)), dtype=np.float32)


def fractal(u: Array, v: Array, octaves: int, footprint: Array | float = 0.0, gain: float = 0.5) -> Array:
    """Sum ever finer and weaker noise."""
    total = np.zeros(np.broadcast(u, v).shape, np.float32)
    for k in range(octaves):
        scale = 2.03**k
        total += gain**k * noise(u * scale + 37 * k, v * scale + 91 * k, footprint * scale)
    return total


def step(low: float, high: float, x: Array) -> Array:
    """Rise smoothly from 0 at low to 1 at high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def mix(a: Array, b: Array, t: Array) -> Array:
    """Blend colour pictures (or plain colours) a and b by the weight picture t."""
    return np.asarray(a + (b - a) * t[..., None], dtype=np.float32)


def rgb(text: str) -> Array:
    """Read a colour such as 'f0e2c4' as sRGB numbers in 0..1."""
    return np.frombuffer(bytes.fromhex(text), np.uint8).astype(np.float32) / 255


def sky(x: Array, y: Array) -> Array:
    """Paint blue deepening upwards, with a bank of cumulus over the horizon and thin streaks above."""
    up = np.clip((HORIZON - y) / HORIZON, 0, 1)
    base = mix(mix(rgb("d3e7f2"), rgb("8fc3ea"), step(0, 0.4, up)), rgb("3f86cc"), step(0.25, 1.1, up))
    u, v = (x - 300) / 230, (HORIZON - y) / 105
    puffs = fractal(u, v, 7, gain=0.55)
    cover = step(0.15, 1.3, puffs + 0.75 - 3.2 * np.abs(up - 0.2)) * step(0.0, 0.12, up)
    shade = step(-0.6, 0.9, puffs - fractal(u, v + 0.22, 7, gain=0.55) + 0.35)
    streaks = step(0.1, 1.8, fractal(x / 700 + 9, (y + x * 0.12) / 90, 6)) * step(0.3, 0.7, up)
    base = mix(base, rgb("f4f8fb"), 0.4 * streaks)
    return mix(base, mix(rgb("c3d2e0"), rgb("fdfcf8"), shade), 0.85 * cover)


def sea(x: Array, z: Array, off: Array, foot: Array) -> Array:
    """Paint water `off` metres from the shore: turquoise to deep blue, ripples, and breaking waves."""
    phase = 1.45 * np.log1p(np.maximum(off, 0) / 2.5) + 0.16 * fractal(x / 9, z / 14, 3, foot / 9)
    behind = np.mod(phase, 1.0)
    far = fractal(x / z * 45, np.log(z) * 42, 4, gain=0.75)  # about the same size in the picture everywhere
    ripple = far + 0.8 * fractal(x / 14, z / 5, 3, foot / 12)
    water = mix(mix(rgb("b9dccb"), rgb("52b7bd"), step(0, 9, off)), rgb("2379a6"), step(8, 90, off))
    water = mix(water, rgb("1d5f94"), step(60, 500, off))
    water = mix(water, rgb("d5eaf5"), np.clip(0.1 + 0.13 * ripple, 0, 0.6))
    face = step(0.72, 0.97, behind) * step(2, 6, off) * step(-120, -20, -off)
    water = mix(water, rgb("1f8f97"), 0.55 * face)
    torn = fractal(x / 0.8, z / 0.8, 5, foot / 0.8, 0.65) + 0.7 * far
    strong = step(-0.7, 0.7, fractal(x / 11, np.floor(phase) * 7.3, 2) + 0.2) * step(1.0, 4, off)
    foam = np.exp(-5.5 * behind) * 1.9 * strong * step(-160, -40, -off) + 0.24 * torn
    edge = np.exp(-np.square(off / 0.8)) + 0.5 * np.exp(-np.square((off - 1.9) / 0.5)) + 0.3 * torn
    return mix(water, rgb("f9fcfc"), 0.95 * np.maximum(step(0.35, 1.0, foam), step(0.35, 0.95, edge)))


def sand(x: Array, z: Array, off: Array, foot: Array) -> Array:
    """Paint pale sand with dents and grain; dark and mirroring where the last wave has been."""
    dents = fractal(x / 0.7, z / 0.7, 4, foot / 0.7) - fractal(x / 0.7, (z - 0.16) / 0.7, 4, foot / 0.7)
    grain = fractal(x / 0.022, z / 0.035, 3, foot / 0.07, 0.8)
    tone = 0.075 * dents + 0.06 * grain + 0.02 * fractal(x / 3, z / 2, 3)
    dry = rgb("ecd9b4") * (1 + tone[..., None])
    wet = mix(rgb("b39a78"), rgb("a9c3d2"), 0.5 * step(-3.0, 0, off)) * (1 + 0.2 * tone[..., None])
    return mix(wet, dry, step(0.0, 1.2, -off - 2.6 + 0.35 * fractal(x / 2, z / 2, 3)))


def beach() -> Array:
    """Paint the whole picture in sRGB 0..1, a touch soft and with a little grain."""
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    z = (EYE * FOCAL / np.maximum(y - HORIZON, 0.4)).astype(np.float32)
    ground, foot = ((x - WIDTH / 2) * z / FOCAL).astype(np.float32), np.minimum(z * z / (EYE * FOCAL), 1e3)
    off = z - 13.5 - 0.55 * ground - 0.7 * fractal(ground / 5, ground * 0, 3)
    land = np.where(off[..., None] > 0, sea(ground, z, off, foot), sand(ground, z, off, foot))
    picture = mix(sky(x, y), mix(land, rgb("b7d4e6"), 0.6 * step(150, 3000, z)), step(-0.5, 1.0, y - HORIZON))
    grain = 0.006 * np.random.default_rng(3).standard_normal(picture.shape)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8) + grain, dtype=np.float32)


def main() -> None:
    """Parse the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("samples"), help="folder to write to")
    out: Path = parser.parse_args().out
    pixels = (np.clip(beach()[..., ::-1], 0, 1) * 255 + 0.5).astype(np.uint8)
    cv2.imwrite(str(out / "beach.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
