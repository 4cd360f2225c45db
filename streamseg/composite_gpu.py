"""Station 4 on a GPU: the same as `composite` makes of a picture in planes before a background, with PyTorch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from streamseg import cuda
from streamseg.background import PLANE_SHARES, Background, Blurred, blur_scale
from streamseg.composite import GUIDE_EPSILON, Alpha, finish
from streamseg.frames import Frame
from streamseg.planes import BLACK, WHITE, Planes


class GpuCompositor:
    """Sets frames before a background; the next ones are uploaded meanwhile and earlier ones downloaded."""

    def __init__(self, background: Background, device: torch.device) -> None:
        self._background, self._lanes = background, cuda.Lanes(device)
        self._key: tuple[tuple[int, ...], ...] = ()
        self._slots: deque[_Slot] = deque()

    @torch.inference_mode()
    def submit(self, pair: tuple[Frame, Alpha]) -> Callable[[], Frame]:
        """Queues a frame with its matte `(h, w)` and returns at once.

        Returns:
            What waits for the finished frame; to be called while fewer than `cuda.SLOTS` were queued after it.
        """
        frame, alpha = pair
        if not isinstance(frame.picture, Planes):
            picture = finish(frame, alpha, self._background)
            return lambda: replace(frame, picture=picture)
        front = frame.picture.as_bt709()
        slot = self._next_slot(front, alpha)
        # A blurred frame is made where the frame is.
        back = None if isinstance(self._background, Blurred) else self._background.planes_behind(frame).as_bt709()
        slot.run(front, alpha, back)
        return lambda: replace(frame, picture=slot.picture())

    def _next_slot(self, front: Planes, alpha: Alpha) -> _Slot:
        """The one that was used longest ago; new ones when the sizes change."""
        key = (front.shape, alpha.shape)
        if key != self._key:
            self._key, blurs = key, isinstance(self._background, Blurred)
            self._slots = deque(_Slot(self._lanes, front, alpha, blurs) for _ in range(cuda.SLOTS))
            self._lanes.settle()
        self._slots.rotate(-1)
        return self._slots[-1]


class _Slot:
    """A frame on its way."""

    def __init__(self, lanes: cuda.Lanes, front: Planes, alpha: Alpha, blurs: bool) -> None:
        planes: list[cuda.Buffer] = [(values.shape, torch.uint8) for values in front.values]
        samples = sum(values.size for values in front.values)
        given = [*planes, (alpha.shape, torch.float32), *([] if blurs else planes)]
        self._slot = cuda.Slot(lanes, given, ((samples,), torch.uint8))
        self._shape, self._back = front.shape, None if blurs else Planes.empty(front.shape)

    def run(self, front: Planes, alpha: Alpha, back: Planes | None) -> None:
        """A background that was the last one here too is there already."""
        given: list[npt.NDArray[Any]] = [*front.values, alpha]
        if back is not self._back:
            assert back
            given += back.values
            self._back = back
        for target, values in zip(self._slot.given, given, strict=False):
            np.copyto(target.numpy(), values)
        self._slot.run(blended, changed=len(given))

    def picture(self) -> Planes:
        """Waits for the finished picture."""
        out, rest = Planes.empty(self._shape), self._slot.result().numpy()
        for target in out.values:
            target[:] = rest[: target.size].reshape(target.shape)
            rest = rest[target.size :]
        return out


def blended(luma: Tensor, blue: Tensor, red: Tensor, alpha: Tensor, *back: Tensor) -> Tensor:
    """One picture before another, or before itself out of focus.

    Args:
        luma: uint8 `(H, W)`, limited range.
        blue: uint8 `(H / 2, W / 2)`.
        red: the same.
        alpha: `(h, w)` in [0, 1].
        back: the planes of the background, if it is not the picture itself.

    Returns:
        uint8: the three planes one after the other, row by row.
    """
    front = [_image(plane) for plane in (luma, blue, red)]
    behind = [_image(plane) for plane in back] or _out_of_focus(front)
    whole = refined(front[0], alpha[None, None])
    half = F.avg_pool2d(whole, 2)
    planes = (torch.lerp(b, f, share) for b, f, share in zip(behind, front, (whole, half, half), strict=True))
    return torch.cat([plane.round_().to(torch.uint8).flatten() for plane in planes])


def refined(luma: Tensor, alpha: Tensor) -> Tensor:
    """What `composite.refine` does: luma `(1, 1, H, W)` and a matte `(1, 1, h, w)` -> alpha `(1, 1, H, W)`."""
    guide = (luma - BLACK) / (WHITE - BLACK)
    small_guide = F.interpolate(guide, alpha.shape[-2:], mode="area")
    slope = _slope(small_guide, alpha)
    model = torch.cat([slope, alpha - slope * small_guide], 1)
    slope, offset = F.interpolate(model, luma.shape[-2:], mode="bicubic").chunk(2, 1)
    return torch.addcmul(offset, slope, guide).clamp_(0, 1)


def _slope(guide: Tensor, alpha: Tensor) -> Tensor:
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box(covariance / (variance + GUIDE_EPSILON))


def _box(values: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _image(plane: Tensor) -> Tensor:
    """uint8 `(H, W)` -> float `(1, 1, H, W)`."""
    return plane[None, None].float()


def _out_of_focus(planes: list[Tensor]) -> list[Tensor]:
    """What `Blurred.planes_behind` makes of a picture's planes, each `(1, 1, H, W)`."""
    height, width, deviation_px = blur_scale(*planes[0].shape[-2:])
    sizes = [(ceil(height * share), ceil(width * share)) for share in PLANE_SHARES]
    deviations_px = [deviation_px * share for share in PLANE_SHARES]
    return [_blurred(*each) for each in zip(planes, sizes, deviations_px, strict=True)]


def _blurred(plane: Tensor, size: tuple[int, int], deviation_px: float) -> Tensor:
    """A plane `(1, 1, H, W)` reduced to `size`, blurred there by a Gaussian, and enlarged again."""
    small = F.interpolate(plane, size, mode="area")
    radius = round(3 * deviation_px)
    places = torch.arange(-radius, radius + 1, device=plane.device)
    weights = torch.softmax(-places.square() / (2 * deviation_px**2), 0)
    # As OpenCV does, where the picture is large enough to be mirrored.
    mode = "reflect" if radius < min(size) else "replicate"
    padded = F.pad(small, (radius, radius, radius, radius), mode=mode)
    soft = F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return F.interpolate(soft, plane.shape[-2:], mode="bilinear")
