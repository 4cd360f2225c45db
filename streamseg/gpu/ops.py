"""Letterbox, YUV to RGB, guided filter, blur and blending with PyTorch, for batches on a GPU; all YUV is BT.709."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from streamseg.composite import foreground, guided_filter
from streamseg.composite.background import PLANE_SCALES, blur_scale
from streamseg.composite.guided_filter import UPPER_TRIANGLE, solved, sum_of_products
from streamseg.composite.weighted_blur import EXPONENT, FLOOR
from streamseg.infer.letterbox import Letterbox
from streamseg.yuv import BLACK, NEUTRAL_CHROMA, WHITE, rgb_weights


def images(planes: Tensor) -> Tensor:
    """Convert planes uint8 `(N, H, W)` to float `(N, 1, H, W)`."""
    return planes[:, None].float()


def averaged(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Average areas of `(N, C, H, W)` to `(N, C, h, w)`; bilinear if a side has to grow, as Cb and Cr may."""
    height, width = _size(image)
    if size[0] > height or size[1] > width:
        return F.interpolate(image, size, mode="bilinear")
    return _area_weights(height, size[0], image.device) @ image @ _area_weights(width, size[1], image.device).T


@cache
def _area_weights(length: int, shorter: int, device: torch.device) -> Tensor:
    """Return `(shorter, length)`: each pixel's weight in each mean by overlap, which PyTorch's averaging ignores."""
    edges = torch.arange(shorter + 1, device=device) * (length / shorter)
    pixel = torch.arange(length, device=device)
    ends, starts = torch.minimum(edges[1:, None], pixel + 1), torch.maximum(edges[:-1, None], pixel)
    return (ends - starts).clamp_(min=0) * (shorter / length)


def rgb_of(y: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """Convert Y, Cb and Cr `(N, 1, h, w)` of one size in limited range to RGB `(N, 3, h, w)` in [0, 255]."""
    y, cb, cr = y - BLACK, cb - NEUTRAL_CHROMA, cr - NEUTRAL_CHROMA
    channels = [by_y * y + by_cb * cb + by_cr * cr for by_y, by_cb, by_cr in rgb_weights().T.tolist()]
    return torch.cat(channels, 1).clamp_(0, 255)


def bordered(rgb: Tensor, letterbox: Letterbox) -> Tensor:
    """Repeat the frame's edges up to the network's size, as `Letterbox.fill` does."""
    return F.pad(rgb, (letterbox.left, letterbox.right, letterbox.top, letterbox.bottom), mode="replicate")


def matte(planes: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """Upsample alpha `(N, 1, h, w)` in [0, 1] guided by Y, Cb and Cr uint8 to uint8 `(N, H, W)`, as `refine` does."""
    full = [images(plane) for plane in planes]
    small = [averaged(plane, _size(alpha)) for plane in full]
    return _refined(full, small, alpha).mul_(255).round_().to(torch.uint8)[:, 0]


def composited(front: Sequence[Tensor], small: Sequence[Tensor], alpha: Tensor, back: Sequence[Tensor]) -> Tensor:
    """Set foregrounds, in their own colours, before backgrounds, or before the images blurred without the subject.

    Args:
        front: Y `(N, 1, H, W)`, Cb and Cr `(N, 1, H / 2, W / 2)` in [0, 255].
        small: the three averaged to the size of alpha.
        alpha: `(N, 1, h, w)` in [0, 1].
        back: planes of the backgrounds, like `front`; empty for the blurred images.

    Returns:
        uint8 `(N, H * W * 3 / 2)`: the planes of each image one after the other, row by row.
    """
    y_weight = _refined(front, small, alpha)
    backgrounds = back or _blurred_planes(front, y_weight)
    chroma_weight = F.avg_pool2d(y_weight, 2)
    weights = (y_weight, chroma_weight, chroma_weight)
    fronts = _fused(front, weights)
    planes = (torch.lerp(b, f, weight) for b, f, weight in zip(backgrounds, fronts, weights, strict=True))
    return torch.cat([plane.round_().to(torch.uint8).flatten(1) for plane in planes], 1)


def _refined(planes: Sequence[Tensor], small: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """Upsample alpha with the guided filter to the size of the first plane, `(N, 1, H, W)` in [0, 1]."""
    contrast = WHITE - BLACK
    y, *chroma = (plane / contrast for plane in planes)
    model = _linear_model([plane / contrast for plane in small], alpha)
    if _size(alpha)[0] > _size(chroma[0])[0] or _size(alpha)[1] > _size(chroma[0])[1]:
        chroma = [_enlarged(plane, y) for plane in chroma]
    total, y_slope, *slopes = (_enlarged(part, chroma[0]) for part in model)
    for slope, plane in zip(slopes, chroma, strict=True):
        total.addcmul_(slope, plane)
    return _enlarged(total, y).addcmul_(_enlarged(y_slope, y), y).clamp_(0, 1)


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    """Interpolate to the size of another image; a new tensor."""
    return F.interpolate(image, _size(like), mode="bilinear")


def _linear_model(guides: Sequence[Tensor], alpha: Tensor) -> list[Tensor]:
    """Fit alpha as offset + slopes * guides, all `(N, 1, h, w)`, as `guided_filter.linear_model` does."""
    change = alpha - _box(alpha, guided_filter.SHARPENING_WINDOW_PX)
    edges = change - change.clamp(-guided_filter.LEAST_CHANGE, guided_filter.LEAST_CHANGE)
    sharp = (alpha + guided_filter.SHARPENING * edges).clamp_(0, 1)
    mean, means = _guide_mean(sharp), [_guide_mean(guide) for guide in guides]
    covariances = [_guide_mean(guide * sharp) - each * mean for guide, each in zip(guides, means, strict=True)]
    matrix = [
        _guide_mean(guides[i] * guides[j]) - means[i] * means[j] + guided_filter.GUIDE_EPSILON * (i == j)
        for i, j in UPPER_TRIANGLE
    ]
    slopes = solved(matrix, covariances)
    variance = _guide_mean(sharp * sharp) - mean * mean
    explained = sum_of_products(slopes, covariances) / (variance + guided_filter.UNEXPLAINED)
    weight = explained.clamp_(0, 1) ** 2 * ((alpha > guided_filter.SURE) & (alpha < 1 - guided_filter.SURE))
    slopes = [slope * guided_filter.GUIDE_GAIN for slope in slopes]
    offset = _box(mean - sum_of_products(slopes, means), guided_filter.SLOPE_WINDOW_PX)
    return [
        sharp + weight * (offset - sharp),
        *(weight * _box(slope, guided_filter.SLOPE_WINDOW_PX) for slope in slopes),
    ]


def _guide_mean(values: Tensor) -> Tensor:
    return _box(values, guided_filter.GUIDE_WINDOW_PX)


def _box(values: Tensor, side_px: int) -> Tensor:
    """Return the mean over a square window; the edge is repeated outwards."""
    border = side_px // 2
    return F.avg_pool2d(F.pad(values, (border,) * 4, mode="replicate"), side_px, stride=1)


def _fused(planes: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """Estimate the foreground's own colours in planes of images, as `fuse_yuv` does."""
    halves = [F.avg_pool2d(planes[0], 2), *planes[1:]]
    small, alpha = torch.cat([_reduced(half) for half in halves], 1), _reduced(weights[1])
    front, back = (torch.split(colours, 1, 1) for colours in _local_colours(small, alpha))
    fused = []
    for plane, weight, *local in zip(planes, weights, front, back, strict=True):
        own, other = (_enlarged(colours, plane) for colours in local)
        unexplained = plane - other - weight * (own - other)
        fused.append(torch.where(weight < 1, torch.addcmul(own, weight, unexplained).clamp_(0, 255), plane))
    return fused


def _reduced(image: Tensor) -> Tensor:
    """Halve images `(N, C, H, W)` until their long side is at most `REDUCED_PX`."""
    while max(_size(image)) > foreground.REDUCED_PX:
        image = averaged(image, (_size(image)[0] // 2, _size(image)[1] // 2))
    return image


def _local_colours(colours: Tensor, alpha: Tensor) -> list[Tensor]:
    """Estimate colours `(N, C, h, w)` of foreground and background, as `foreground` does."""
    shares = alpha, 1 - alpha
    weights = [share**3 for share in shares]
    means = [_local_means(colours, weight) for weight in weights]
    unexplained = colours - shares[0] * means[0] - shares[1] * means[1]
    found = []
    for mean, share, weight in zip(means, shares, weights, strict=True):
        near_weight = weight + foreground.LEAST_WEIGHT
        possible = (mean + share * unexplained).clamp_(0, 255)
        window_px = foreground.SECOND_WINDOW_PX
        found.append(_box(possible * near_weight, window_px) / _box(near_weight, window_px))
    return found


def _local_means(colours: Tensor, weights: Tensor) -> Tensor:
    """Return weighted means around each pixel, or each image's global mean where the weights vanish."""
    side_px = foreground.window_px(max(_size(weights)))
    total, weighted = _box(weights, side_px), colours * weights
    global_mean = weighted.sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp_(min=foreground.EPSILON)
    trust = total.clamp(min=foreground.TRUSTED_WEIGHT)
    global_share = 1 - (total / foreground.TRUSTED_WEIGHT).clamp_(max=1)
    return _box(weighted, side_px) / trust + global_share * global_mean


def _size(image: Tensor) -> tuple[int, int]:
    """Return height and width."""
    return image.shape[-2], image.shape[-1]


def _blurred_planes(planes: Sequence[Tensor], matte: Tensor) -> list[Tensor]:
    """Blur planes `(N, 1, H, W)` of images as `BlurBackground.around(matte)` does; the matte is in [0, 1]."""
    height, width, deviation_px = blur_scale(*_size(planes[0]))
    sizes = [(ceil(height * scale), ceil(width * scale)) for scale in PLANE_SCALES]
    deviations_px = [deviation_px * scale for scale in PLANE_SCALES]
    each = zip(planes, sizes, deviations_px, strict=True)
    return [_blurred(plane, matte, size, deviation_px) for plane, size, deviation_px in each]


def _blurred(plane: Tensor, matte: Tensor, size: tuple[int, int], deviation_px: float) -> Tensor:
    """Reduce planes `(N, 1, H, W)` to `size`, blur them there without the subject, and enlarge them again."""
    nearest = F.max_pool2d(averaged(matte, size), 3, stride=1, padding=1)
    share = (1 - nearest) ** EXPONENT + FLOOR
    soft = _gaussian(averaged(plane, size) * share, deviation_px) / _gaussian(share, deviation_px)
    return F.interpolate(soft, _size(plane), mode="bilinear")


def _gaussian(small: Tensor, deviation_px: float) -> Tensor:
    """Blur images `(N, 1, h, w)`."""
    radius = round(3 * deviation_px)
    offsets = torch.arange(-radius, radius + 1, device=small.device)
    weights = torch.softmax(-offsets.square() / (2 * deviation_px**2), 0)
    # Mirror the edge as OpenCV does, if the image is large enough.
    mode = "reflect" if radius < min(_size(small)) else "replicate"
    padded = F.pad(small, (radius, radius, radius, radius), mode=mode)
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
