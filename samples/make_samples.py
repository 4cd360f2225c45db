"""Make samples/talk.mp4 and samples/portrait.jpg from one photograph.

    python samples/make_samples.py ASTRONAUT.png -o samples

A virtual hand-held camera films the photograph: a wide shot with a slow pan, a hard cut, then a
closer shot that moves in. The sound is a small bell tune made of sine waves.
"""

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT, FPS, RATE = 640, 360, 24, 48000
CHORDS = ((57, 60, 64, 69), (53, 60, 65, 69), (48, 60, 64, 67), (55, 59, 62, 67))  # MIDI notes: Am F C G


# Camera moves: from view, to view, frames. A view is the centre (x, y) and width of the frame in the photograph.
MOVES = (((240, 137, 466), (262, 143, 490), 56), ((234, 120, 400), (222, 110, 366), 52))


def shake(seconds: float) -> tuple[float, float, float]:
    """Give the hand shake at a time: shift in x and y (photograph pixels) and roll (degrees)."""
    rates = np.array([[0.37, 1.13, 2.9], [0.51, 1.31, 3.3], [0.29, 0.83, 1.9]])
    size = np.array([[1.6], [1.3], [0.35]]) * np.array([1.0, 0.35, 0.12])
    x, y, roll = (size * np.sin(2 * np.pi * rates * seconds + rates * 5)).sum(axis=1)
    return float(x), float(y), float(roll)


def film(photo: Floats, view: Floats, seconds: float, rng: np.random.Generator) -> Pixels:
    """Take one BGR frame: the view, shaken, resampled with Lanczos, with a little sensor noise."""
    dx, dy, roll = shake(seconds)
    x, y, width = float(view[0]) + dx, float(view[1]) + dy, float(view[2])
    matrix = cv2.getRotationMatrix2D((x, y), roll, WIDTH / width)
    matrix = matrix + np.array([[0, 0, WIDTH / 2 - x], [0, 0, HEIGHT / 2 - y]])
    frame = cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(np.clip(frame + rng.normal(0, 1.2, frame.shape), 0, 255).round(), dtype=np.uint8)


def shoot(photo: Floats) -> list[Pixels]:
    """Film all shots, each move eased in and out."""
    rng, frames = np.random.default_rng(1), list[Pixels]()
    for start, end, count in MOVES:
        for t in np.linspace(0, 1, count):
            view = np.asarray(start, np.float32) + np.subtract(end, start) * (t * t * (3 - 2 * t))
            frames.append(film(photo, view, len(frames) / FPS, rng))
    return frames


def bell(note: int, length: int) -> Floats:
    """Ring a soft bell: a few partials, each fading at its own pace."""
    t, pitch = np.arange(length) / RATE, 440 * 2 ** ((note - 69) / 12)
    partials = ((1.0, 1.0, 2.2), (2.0, 0.4, 3.5), (3.01, 0.15, 6.0), (5.4, 0.05, 11.0))
    tone = sum(a * np.exp(-d * t) * np.sin(2 * np.pi * pitch * k * t) for k, a, d in partials)
    return np.asarray(tone * np.minimum(t / 0.006, 1), dtype=np.float32)


def tune(seconds: float) -> Floats:
    """Play broken chords as stereo samples (2, n), each note at its own place from left to right."""
    total, step = round(seconds * RATE), round(seconds * RATE / 16)
    sound = np.zeros((2, total), np.float32)
    for i in range(15):
        note, place = CHORDS[i // 4][i % 4], 0.3 + 0.4 * (i % 4) / 3
        sound[:, i * step :] += np.outer((1 - place, place), bell(note + 12 * (i % 4 > 1), total - i * step))
    fade = np.minimum(1, np.arange(total, 0, -1) / (0.4 * RATE))
    return np.asarray(sound * fade * 0.35 / np.abs(sound).max(), dtype=np.float32)


def pictures(frames: list[Pixels]) -> Iterator[av.VideoFrame]:
    """Turn the frames into BT.709 limited-range YUV."""
    for i, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
        yuv = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation="BICUBIC")
        yuv.pts, yuv.time_base = i, Fraction(1, FPS)
        yield yuv


def write(path: Path, frames: list[Pixels], sound: Floats) -> None:
    """Encode H.264 (tagged BT.709) and AAC into an MP4 file."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as box:
        video = box.add_stream("libx264", FPS, {"crf": "20", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        audio = box.add_stream("aac", RATE, {"b": "128k"}, layout="stereo")
        for frame in [*pictures(frames), None]:
            box.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="stereo")
        samples.sample_rate, samples.pts = RATE, 0
        for chunk in [samples, None]:
            box.mux(audio.encode(chunk))


def main() -> None:
    """Parse the arguments and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, help="astronaut.png of scikit-image")
    parser.add_argument("-o", "--out", type=Path, default=Path("samples"), help="folder to write to")
    args = parser.parse_args()
    photo = cv2.imread(str(args.photo), cv2.IMREAD_COLOR)
    if photo is None:
        parser.error(f"cannot read {args.photo}")
    cv2.imwrite(str(args.out / "portrait.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 90])
    frames = shoot(photo.astype(np.float32))
    write(args.out / "talk.mp4", frames, tune(len(frames) / FPS))


if __name__ == "__main__":
    main()
