"""A subject that moves before a background: frames, and the alpha and foreground colour that they were made of."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from train.data import Pixels
from train.synth.backdrops import Backdrop
from train.synth.motion import Matrix, Motion
from train.synth.shapes import Cutout

SUPERSAMPLING = 2
"""Frames are made so many times larger and averaged down, against jagged edges where a picture shrinks."""

SHUTTER_SAMPLES = 12
"""Moments that are averaged while the shutter is open."""

TO_LARGE = np.array([[SUPERSAMPLING, 0, 0.5], [0, SUPERSAMPLING, 0.5], [0, 0, 1]])
"""Pixel coordinates of the frame -> those of the larger picture, the pixels' centres being whole numbers."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """One frame and its truth, uint8.

    Attributes:
        image: RGB `(H, W, 3)`; before noise it is alpha times foreground plus the rest of the background.
        alpha: `(H, W)`.
        foreground: straight RGB `(H, W, 3)`; black where alpha is 0.
    """

    image: Pixels
    alpha: Pixels
    foreground: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A background and, perhaps, a subject before it, both on paths of their own.

    Attributes:
        shape: height and width of the frames, px.
        rate: frames a second.
        background: its edges are mirrored outwards.
        background_motion: its path.
        subject: premultiplied cut-out, or None for an empty scene.
        subject_motion: its path.
        shutter: share of the time between two frames during which the subject smears; 0 for none. The background
            does not: the matting equation holds exactly then.
        noise_levels: standard deviation of the camera's noise, of 255.
        seed: of the noise.
    """

    shape: tuple[int, int]
    rate: int
    background: Backdrop
    background_motion: Motion
    subject: Cutout | None
    subject_motion: Motion
    shutter: float
    noise_levels: float
    seed: int

    def still(self, index: int) -> Still:
        """Make the frame of an index, which does not depend on other frames.

        Alpha and foreground are rounded to 8 bits first, and the frame is made of the rounded ones. Positions are
        exact to 1/64 px, a 32nd of a pixel of the larger picture: OpenCV's bilinear warps know no finer ones.
        """
        back = self._background_at(index)
        if self.subject is None:
            alpha, front = np.zeros(self.shape, np.uint8), np.zeros_like(back)
        else:
            alpha, front = straight(self._subject_at(index))
        return Still(self._with_noise(laid_over(back, front, alpha), index), alpha, front)

    def places(self, index: int) -> tuple[Matrix, Matrix]:
        """Return where subject and background are in the frame of an index."""
        seconds = index / self.rate
        return self.subject_motion(seconds), self.background_motion(seconds)

    def _background_at(self, index: int) -> Pixels:
        seconds = index / self.rate
        picture = self.background.at(seconds).astype(np.float32)
        warped = _warped(picture, self.background_motion(seconds), self.shape, cv2.BORDER_REFLECT_101)
        return warped.round().astype(np.uint8)

    def _subject_at(self, index: int) -> Cutout:
        assert self.subject is not None
        open_for = np.linspace(-0.5, 0.5, SHUTTER_SAMPLES) * self.shutter if self.shutter else np.zeros(1)
        total = np.zeros((*self.shape, 4), np.float32)
        for moment in open_for:
            place = self.subject_motion((index + float(moment)) / self.rate)
            total += _warped(self.subject, place, self.shape, cv2.BORDER_CONSTANT)
        return total / np.float32(len(open_for))

    def _with_noise(self, image: Pixels, index: int) -> Pixels:
        if not self.noise_levels:
            return image
        noise = np.random.default_rng((self.seed, index)).normal(0, self.noise_levels, image.shape)
        return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def laid_over(back: Pixels, front: Pixels, alpha: Pixels) -> Pixels:
    """Set a straight foreground before a background: the matting equation, rounded to 8 bits."""
    weight = alpha.astype(np.float32)[..., None] / 255
    return (front * weight + back * (1 - weight)).round().astype(np.uint8)


def straight(premultiplied: Cutout) -> tuple[Pixels, Pixels]:
    """Return alpha `(H, W)` and the straight foreground `(H, W, 3)`, black where alpha is 0, as uint8."""
    alpha = premultiplied[..., 3:]
    levels = (np.clip(alpha, 0, 1) * 255).round().astype(np.uint8)
    colour = np.clip(premultiplied[..., :3] / np.maximum(alpha, 1e-6), 0, 1) * 255
    return levels[..., 0], np.where(levels > 0, colour.round(), 0).astype(np.uint8)


def _warped(picture: Floats, place: Matrix, shape: tuple[int, int], border: int) -> Floats:
    """Return a frame of `shape` with a picture at its place; bilinear, averaged down from a larger frame."""
    height, width = shape
    large = width * SUPERSAMPLING, height * SUPERSAMPLING
    warped = cv2.warpAffine(picture, (TO_LARGE @ place)[:2], large, flags=cv2.INTER_LINEAR, borderMode=border)
    return cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
