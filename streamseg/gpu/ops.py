"""What `infer` and `composite` do to pixels, with PyTorch, for batches that lie on a GPU. All planes are BT.709."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from streamseg.composite.background import PLANE_SHARES, blur_scale
from streamseg.composite.guided_filter import GUIDE_EPSILON
from streamseg.infer.letterbox import Letterbox
from streamseg.yuv import BLACK, NEUTRAL_CHROMA, WHITE, rgb_weights


def images(planes: Tensor) -> Tensor:
    """uint8 `(N, H, W)` -> float `(N, 1, H, W)`."""
    return planes[:, None].float()


def averaged(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`(N, C, H, W)` -> `(N, C, h, w)`; colour of half the size may have to grow instead."""
    height, width = _size(image)
    if size[0] > height or size[1] > width:
        return F.interpolate(image, size, mode="bilinear")
    return _shares(height, size[0], image.device) @ image @ _shares(width, size[1], image.device).T


@cache
def _shares(length: int, shorter: int, device: torch.device) -> Tensor:
    """`(shorter, length)`: a pixel's share in each mean, by how much of it lies there; PyTorch's own takes it whole."""
    edges = torch.arange(shorter + 1, device=device) * (length / shorter)
    pixel = torch.arange(length, device=device)
    ends, starts = torch.minimum(edges[1:, None], pixel + 1), torch.maximum(edges[:-1, None], pixel)
    return (ends - starts).clamp_(min=0) * (shorter / length)


def rgb_of(luma: Tensor, blue: Tensor, red: Tensor) -> Tensor:
    """Planes of one size `(N, 1, h, w)` in limited range -> RGB `(N, 3, h, w)` in levels of 255."""
    luma, blue, red = luma - BLACK, blue - NEUTRAL_CHROMA, red - NEUTRAL_CHROMA
    channels = [y * luma + b * blue + r * red for y, b, r in rgb_weights().T.tolist()]
    return torch.cat(channels, 1).clamp_(0, 255)


def bordered(rgb: Tensor, letterbox: Letterbox) -> Tensor:
    """What `Letterbox.fill` does: the frame's edges are repeated around it up to the network's size."""
    return F.pad(rgb, (letterbox.left, letterbox.right, letterbox.top, letterbox.bottom), mode="replicate")


def matte(luma: Tensor, alpha: Tensor) -> Tensor:
    """What `composite.refine` does: luma uint8 `(N, H, W)` and alpha `(N, 1, h, w)` -> uint8 `(N, H, W)`."""
    full = images(luma)
    refined = _refined(full, averaged(full, _size(alpha)), alpha)
    return refined.mul_(255).round_().to(torch.uint8)[:, 0]


def blended(front: Sequence[Tensor], small_luma: Tensor, alpha: Tensor, back: Sequence[Tensor]) -> Tensor:
    """Pictures before others, or before themselves out of focus.

    Args:
        front: luma `(N, 1, H, W)`, blue and red difference `(N, 1, H / 2, W / 2)`.
        small_luma: luma averaged to the size of alpha.
        alpha: `(N, 1, h, w)` in [0, 1].
        back: planes of the backgrounds like `front`, if they are not the pictures themselves.

    Returns:
        uint8 `(N, H * W * 3 / 2)`: of each picture the three planes one after the other, row by row.
    """
    behind = back or _out_of_focus(front)
    whole = _refined(front[0], small_luma, alpha)
    half = F.avg_pool2d(whole, 2)
    planes = (torch.lerp(b, f, share) for b, f, share in zip(behind, front, (whole, half, half), strict=True))
    return torch.cat([plane.round_().to(torch.uint8).flatten(1) for plane in planes], 1)


def _refined(luma: Tensor, small_luma: Tensor, alpha: Tensor) -> Tensor:
    """`(N, 1, H, W)` in [0, 1]."""
    guide, small_guide = ((levels - BLACK) / (WHITE - BLACK) for levels in (luma, small_luma))
    slope = _slope(small_guide, alpha)
    model = torch.cat([slope, alpha - slope * small_guide], 1)
    slope, offset = F.interpolate(model, _size(luma), mode="bicubic").chunk(2, 1)
    return torch.addcmul(offset, slope, guide).clamp_(0, 1)


def _slope(guide: Tensor, alpha: Tensor) -> Tensor:
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box(covariance / (variance + GUIDE_EPSILON))


def _box(values: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _out_of_focus(planes: Sequence[Tensor]) -> list[Tensor]:
    """What `BlurBackground.yuv_at` makes of pictures' planes, each `(N, 1, H, W)`."""
    height, width, deviation_px = blur_scale(*_size(planes[0]))
    sizes = [(ceil(height * share), ceil(width * share)) for share in PLANE_SHARES]
    deviations_px = [deviation_px * share for share in PLANE_SHARES]
    return [_blurred(*each) for each in zip(planes, sizes, deviations_px, strict=True)]


def _blurred(plane: Tensor, size: tuple[int, int], deviation_px: float) -> Tensor:
    """Planes `(N, 1, H, W)` reduced to `size`, blurred there by a Gaussian, and enlarged again."""
    small = averaged(plane, size)
    radius = round(3 * deviation_px)
    places = torch.arange(-radius, radius + 1, device=plane.device)
    weights = torch.softmax(-places.square() / (2 * deviation_px**2), 0)
    # As OpenCV does, where the picture is large enough to be mirrored.
    mode = "reflect" if radius < min(size) else "replicate"
    padded = F.pad(small, (radius, radius, radius, radius), mode=mode)
    soft = F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return F.interpolate(soft, _size(plane), mode="bilinear")
