"""Forms of a finished frame for browsers: JPEG, PNG, the foreground over green, and what WebRTC encodes."""

from __future__ import annotations

import cv2
import numpy as np
from av.video.reformatter import Colorspace

from streamseg.composite.blend import blend
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.sink.images import opaque, to_bgr
from streamseg.yuv import LAYOUT, YuvImage

JPEG_QUALITY = 85
GREEN = (0, 255, 0)
"""The colour that OBS's chroma key takes out by default."""

WEBRTC_SIDE_PX = 1280
"""Longest side of the picture by WebRTC, whose encoder has to keep the camera's pace beside the pipeline."""


def as_jpeg(frame: Frame) -> bytes:
    """Encode what is shown as JPEG, transparency as a checkerboard."""
    if isinstance(frame.image, YuvImage):
        return _jpeg(_bgr_of(frame.image))
    return _jpeg(to_bgr(opaque(frame.image).rgb))


def as_green_jpeg(frame: Frame) -> bytes:
    """Encode the foreground over green as JPEG, whatever the background; nothing but green for a card."""
    return _jpeg(to_bgr(over_green(frame)))


def over_green(frame: Frame) -> Pixels:
    """Composite the foreground over green -> RGB `(H, W, 3)`; all green where the frame has no foreground to give."""
    green = np.full((*frame.image.shape[:2], 3), GREEN, np.uint8)
    cutout = frame.pixels if frame.kind == "foreground" else frame.cutout() if frame.cutout else None
    return green if cutout is None else blend(np.ascontiguousarray(cutout[..., :3]), green, cutout[..., 3])


def as_png(frame: Frame) -> bytes:
    """Encode what is shown as PNG, with its transparency."""
    return encode_png(frame.pixels)


def encode_png(pixels: Pixels) -> bytes:
    """Encode RGB, RGBA or grey as PNG."""
    return cv2.imencode(".png", to_bgr(pixels))[1].tobytes()


def encode_jpeg(rgb: Pixels) -> bytes:
    """Encode RGB as JPEG."""
    return _jpeg(to_bgr(rgb))


def for_webrtc(frame: Frame) -> YuvImage:
    """Convert to 4:2:0 in BT.601, which browsers take VP8 for, with even sides of `WEBRTC_SIDE_PX` at most.

    The image is never the frame's own, which other sinks encode with times of their own.
    """
    yuv = YuvImage(opaque(frame.image).as_frame(LAYOUT))
    height, width = yuv.shape[:2]
    scale = WEBRTC_SIDE_PX / max(height, width)
    if scale < 1:
        yuv = yuv.resized(round(width * scale / 2) * 2, round(height * scale / 2) * 2)
    return yuv.in_matrix(Colorspace.ITU601)


def _bgr_of(yuv: YuvImage) -> Pixels:
    """Convert to BGR with OpenCV, at a tenth of the cost of `YuvImage.rgb`, which rounds exactly."""
    planes = np.concatenate([plane.reshape(-1) for plane in yuv.in_matrix(Colorspace.ITU601).planes])
    height, width = yuv.shape[:2]
    return cv2.cvtColor(planes.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420).astype(np.uint8, copy=False)


def _jpeg(bgr: Pixels) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
