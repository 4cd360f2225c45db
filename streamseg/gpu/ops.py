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
from streamseg.composite.foreground import purities
from streamseg.composite.guided_filter import DIAGONAL, solved
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
    return torch.cat([plane.round_().clamp_(0, 255).to(torch.uint8).flatten(1) for plane in planes], 1)


def _refined(planes: Sequence[Tensor], small: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """Upsample alpha with the guided filter to the size of the first plane, `(N, 1, H, W)` in [0, 1]."""
    contrast = WHITE - BLACK
    y, *chroma = (plane / contrast for plane in planes)
    model = _linear_model(torch.cat(list(small), 1) / contrast, alpha)
    if _size(alpha)[0] > _size(chroma[0])[0] or _size(alpha)[1] > _size(chroma[0])[1]:
        chroma = [_enlarged(plane, y) for plane in chroma]
    total, y_slope, *slopes = (_enlarged(part, chroma[0]) for part in torch.split(model, 1, 1))
    for slope, plane in zip(slopes, chroma, strict=True):
        total.addcmul_(slope, plane)
    return _enlarged(total, y).addcmul_(_enlarged(y_slope, y), y).clamp_(0, 1)


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    """Interpolate to the size of another image; a new tensor."""
    return F.interpolate(image, _size(like), mode="bilinear")


def _linear_model(guides: Tensor, alpha: Tensor) -> Tensor:
    """Fit alpha `(N, 1, h, w)` as offset + slopes * guides `(N, 3, h, w)`, as `guided_filter.refine` does.

    Returns:
        Offset and slopes, weighed as far as the model holds, `(N, 4, h, w)`.
    """
    sharp = _sharpened(alpha)
    small, guides = _halved(sharp), _halved(guides)
    y, cb, cr = torch.split(guides, 1, 1)
    products = y * guides, cb * guides[:, 1:], cr * cr
    moments = _window_mean(torch.cat([guides, guides * small, *products, small, small * small], 1))
    means, mean, square = moments[:, :3], moments[:, -2:-1], moments[:, -1:]
    covariances = moments[:, 3:6] - means * mean
    y, cb, cr = torch.split(means, 1, 1)
    matrix = moments[:, 6:12] - torch.cat([y * means, cb * means[:, 1:], cr * cr], 1)
    matrix[:, DIAGONAL] += guided_filter.GUIDE_EPSILON
    slopes = torch.cat(solved(torch.split(matrix, 1, 1), torch.split(covariances, 1, 1)), 1)
    variance = square - mean * mean + guided_filter.UNEXPLAINED
    explained = (slopes * covariances).sum(1, keepdim=True) / variance
    slopes *= guided_filter.GUIDE_GAIN
    offset = mean - (slopes * means).sum(1, keepdim=True)
    explained = F.threshold(explained.clamp_(max=1), guided_filter.LEAST_EXPLAINED, 0)
    weight = _enlarged(explained.square(), alpha) * _is_unsure(alpha)
    model = weight * _enlarged(_box(torch.cat([offset, slopes], 1), guided_filter.SLOPE_WINDOW_PX), alpha)
    model[:, :1] += sharp - weight * sharp
    return model


def _sharpened(alpha: Tensor) -> Tensor:
    """Steepen the edges of alpha, as `guided_filter.sharpened` does."""
    small = _halved(alpha)
    change = alpha - _enlarged(_window_mean(small), alpha)
    edges = change - change.clamp(-guided_filter.LEAST_CHANGE, guided_filter.LEAST_CHANGE)
    closed = -_highest(-_highest(small))
    kept = (_enlarged(closed - small, alpha) / guided_filter.GROOVE_DEPTH).clamp_(max=1)
    edges -= kept * edges.clamp(max=0)
    return (alpha + guided_filter.SHARPENING * edges).clamp_(0, 1)


def _highest(values: Tensor) -> Tensor:
    """Return the maximum over the window that grooves are narrower than."""
    return F.max_pool2d(values, guided_filter.GROOVE_PX, 1, guided_filter.GROOVE_PX // 2)


def _is_unsure(alpha: Tensor) -> Tensor:
    return (alpha > guided_filter.SURE) & (alpha < 1 - guided_filter.SURE)


def _window_mean(values: Tensor) -> Tensor:
    return _box(values, guided_filter.WINDOW_PX)


def _halved(values: Tensor) -> Tensor:
    """Interpolate to half the sides, rounded up."""
    height, width = _size(values)
    return F.interpolate(values, ((height + 1) // 2, (width + 1) // 2), mode="bilinear")


def _box(values: Tensor, side_px: int) -> Tensor:
    """Return the mean over a square window; the edge is repeated outwards."""
    border = side_px // 2
    return F.avg_pool2d(F.pad(values, (border,) * 4, mode="replicate"), side_px, stride=1)


def _fused(planes: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """Estimate the foreground's own colours in planes of images, as `fuse_yuv` does."""
    alpha = _reduced(weights[1])
    sampled = torch.cat([F.interpolate(plane, _size(alpha), mode="bilinear") for plane in planes], 1)
    front, back = _local_colours(sampled, alpha)
    hidden = torch.split(front + alpha * (front - back), 1, 1)
    return [
        torch.lerp(_enlarged(colours, plane), plane, weight)
        for plane, weight, colours in zip(planes, weights, hidden, strict=True)
    ]


def _reduced(matte: Tensor) -> Tensor:
    """Halve mattes `(N, 1, H, W)` until their long side is at most `REDUCED_PX`."""
    while max(_size(matte)) > foreground.REDUCED_PX:
        matte = averaged(matte, (_size(matte)[0] // 2, _size(matte)[1] // 2))
    return matte


def _local_colours(colours: Tensor, alpha: Tensor) -> list[Tensor]:
    """Estimate colours `(N, C, h, w)` of foreground and background, as `foreground` does."""
    shares, small = (alpha, 1 - alpha), _halved(colours)
    means = [_enlarged(_local_means(small, weight), colours) for weight in purities(_halved(alpha))]
    unexplained = colours - shares[0] * means[0] - shares[1] * means[1]
    found = []
    for mean, share, weight in zip(means, shares, purities(alpha), strict=True):
        near_weight, window_px = weight + foreground.LEAST_WEIGHT, foreground.SECOND_WINDOW_PX
        found.append(_box((mean + share * unexplained) * near_weight, window_px) / _box(near_weight, window_px))
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
