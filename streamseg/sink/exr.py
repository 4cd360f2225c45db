"""OpenEXR images, what compositing programs take: linear light, half floats, premultiplied alpha.

Premultiplied (associated) alpha, colours times alpha, is what the standard says ("Technical Introduction to OpenEXR").
Straight alpha keeps the foreground's colours where it is hidden, so that an edge can still be moved; compositors then
multiply first (Nuke: Premult, Blender: Alpha Convert).
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from streamseg.errors import OutputError
from streamseg.image import Pixels, float_samples

OPTIONS = {"format": "half", "compression": "zip16"}
LAYOUTS = {1: "grayf32le", 3: "gbrpf32le", 4: "gbrapf32le"}
PLANES = {1: (0,), 3: (1, 2, 0), 4: (1, 2, 0, 3)}
"""Channels of the pixels -> which of them each of FFmpeg's planes holds."""


def encode_exr(pixels: Pixels, straight: bool = False, pixel_aspect: Fraction = Fraction(1)) -> bytes:
    """Encode RGB `(H, W, 3)`, RGBA `(H, W, 4)` or a matte `(H, W)`.

    Args:
        pixels: levels of 255; alpha is straight.
        straight: keep it so in the file, instead of multiplying the colours by it.
        pixel_aspect: width of a pixel over its height, which the file states.

    Raises:
        OutputError: FFmpeg's encoder refused them.
    """
    light = to_light(pixels)
    if light.shape[2] == 4 and not straight:
        light[..., :3] *= light[..., 3:]
    height, width, channels = light.shape
    frame = av.VideoFrame(width, height, LAYOUTS[channels])
    for plane, channel in zip(frame.planes, PLANES[channels], strict=True):
        float_samples(plane)[:] = light[..., channel]
    frame.pts = 0
    encoder = av.CodecContext.create("exr", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, LAYOUTS[channels]
    encoder.time_base, encoder.options = Fraction(1), OPTIONS
    encoder.sample_aspect_ratio = pixel_aspect
    try:
        return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    except av.FFmpegError as error:
        raise OutputError(f"cannot encode OpenEXR: {error.strerror}") from error


def to_light(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Any kind of pixels -> `(H, W, C)` in [0, 1]: colours linear, alpha and mattes as they are."""
    if pixels.ndim == 2:
        return (pixels[..., None] / np.float32(255)).astype(np.float32, copy=False)
    light = LINEAR[pixels]
    if pixels.shape[2] == 4:
        light[..., 3] = pixels[..., 3] / np.float32(255)
    return light


def _linear() -> npt.NDArray[np.float32]:
    """The transfer function of IEC 61966-2-1 (sRGB), from levels of 255 to light."""
    level = np.arange(256) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


LINEAR = _linear()
