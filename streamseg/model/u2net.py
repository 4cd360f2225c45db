"""The U²-Net salient object network: full, lite and nano.

Source: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 2020 (arXiv:2005.09007), section 3.1 (the residual U-block) and table 1 (the stages). nano is ours:
the same blocks at half the input's height and width, narrow where maps are large and wide where they are small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_SIZE_PX = 32
"""Least height and width: five poolings leave one pixel."""

STRIDE_PX = 32
"""Divisor of sizes that are pooled without a remainder."""

TRACE_SIZE_PX = 64
"""Size for tracing: no stage then pools a single pixel, which would freeze a shape into the graph."""

Architecture = Literal["nano", "lite", "full"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One residual U-block.

    Attributes:
        height: number of levels.
        in_channels: of its input.
        mid_channels: of its inner levels.
        out_channels: of its output.
        dilated: dilates instead of pooling (RSU-4F).
    """

    height: int
    in_channels: int
    mid_channels: int
    out_channels: int
    dilated: bool = False

    def encoder_dilations(self) -> tuple[int, ...]:
        """Return the dilation of each encoder convolution, the deepest last."""
        if self.dilated:
            return tuple(2**level for level in range(self.height))
        return (1,) * (self.height - 1) + (2,)

    def decoder_dilations(self) -> tuple[int, ...]:
        """Return the dilation of each decoder convolution, the deepest first."""
        if self.dilated:
            return self.encoder_dilations()[-2::-1]
        return (1,) * (self.height - 1)


@dataclass(frozen=True, slots=True)
class U2NetConfig:
    """Shape of a U²-Net (table 1 of the paper).

    Attributes:
        name: of the architecture.
        encoder: six stages from the top down.
        decoder: five stages from the bottom up.
        out_channels: maps of the output.
        stride: of the first convolution; at 2, every map has half the height and width that it has at 1.
    """

    name: Architecture
    encoder: tuple[Stage, ...]
    decoder: tuple[Stage, ...]
    out_channels: int = 1
    stride: int = 1

    def side_channels(self) -> tuple[int, ...]:
        """Return the channels under each of the six side outputs: En6, then the decoder from the bottom up."""
        return tuple(stage.out_channels for stage in (self.encoder[-1], *self.decoder))


FULL = U2NetConfig(
    name="full",
    encoder=(
        Stage(7, 3, 32, 64),
        Stage(6, 64, 32, 128),
        Stage(5, 128, 64, 256),
        Stage(4, 256, 128, 512),
        Stage(4, 512, 256, 512, dilated=True),
        Stage(4, 512, 256, 512, dilated=True),
    ),
    decoder=(
        Stage(4, 1024, 256, 512, dilated=True),
        Stage(4, 1024, 128, 256),
        Stage(5, 512, 64, 128),
        Stage(6, 256, 32, 64),
        Stage(7, 128, 16, 64),
    ),
)

LITE = U2NetConfig(
    name="lite",
    encoder=(
        Stage(7, 3, 16, 64),
        Stage(6, 64, 16, 64),
        Stage(5, 64, 16, 64),
        Stage(4, 64, 16, 64),
        Stage(4, 64, 16, 64, dilated=True),
        Stage(4, 64, 16, 64, dilated=True),
    ),
    decoder=(
        Stage(4, 128, 16, 64, dilated=True),
        Stage(4, 128, 16, 64),
        Stage(5, 128, 16, 64),
        Stage(6, 128, 16, 64),
        Stage(7, 128, 16, 64),
    ),
)

NANO = U2NetConfig(
    name="nano",
    encoder=(
        Stage(5, 3, 8, 16),
        Stage(5, 16, 16, 32),
        Stage(4, 32, 16, 64),
        Stage(4, 64, 32, 64),
        Stage(4, 64, 32, 96, dilated=True),
        Stage(4, 96, 32, 96, dilated=True),
    ),
    decoder=(
        Stage(4, 192, 32, 64, dilated=True),
        Stage(4, 128, 32, 64),
        Stage(4, 128, 16, 32),
        Stage(5, 64, 16, 16),
        Stage(5, 32, 8, 16),
    ),
    stride=2,
)

CONFIGS: dict[str, U2NetConfig] = {"nano": NANO, "lite": LITE, "full": FULL}


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Resize `(N, C, h, w)` bilinearly to the height and width of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    # On a CPU, autocast would widen each map to float32 here, and so the concatenations after it.
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def halve(x: Tensor) -> Tensor:
    """Max-pool `(N, C, h, w)` by two, rounding odd sizes up."""
    return F.max_pool2d(x, kernel_size=2, stride=2, ceil_mode=True)


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm and ReLU; the stride divides height and width, rounded up."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn: nn.Module = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Compute `(N, in, h, w)` -> `(N, out, h / stride, w / stride)`."""
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Fold the batch norm into the convolution's weights; exact in evaluation mode."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class ResidualUBlock(nn.Module):
    """RSU-L, or RSU-4F if the stage is dilated (section 3.1, figure 2e)."""

    def __init__(self, stage: Stage, stride: int = 1) -> None:
        super().__init__()
        mid, out = stage.mid_channels, stage.out_channels
        self.dilated = stage.dilated
        self.input = ConvBlock(stage.in_channels, out, stride=stride)
        self.encoder = nn.ModuleList(
            ConvBlock(out if level == 0 else mid, mid, dilation)
            for level, dilation in enumerate(stage.encoder_dilations())
        )
        last = stage.height - 2
        self.decoder = nn.ModuleList(
            ConvBlock(2 * mid, out if level == last else mid, dilation)
            for level, dilation in enumerate(stage.decoder_dilations())
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute `(N, in, h, w)` -> `(N, out, h / stride, w / stride)`."""
        residual = self.input(x)
        skips = self._down(residual)
        x = skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            x = block(torch.cat((resize_like(x, skip), skip), dim=1))
        result: Tensor = x + residual
        return result

    def _down(self, x: Tensor) -> list[Tensor]:
        skips: list[Tensor] = []
        last = len(self.encoder) - 1
        for level, block in enumerate(self.encoder):
            # The deepest layer is dilated instead of pooled, so its input keeps the size above it.
            if not self.dilated and 0 < level < last:
                x = halve(x)
            x = block(x)
            skips.append(x)
        return skips


class U2NetBody(nn.Module):
    """The nested encoder and decoder without their side outputs."""

    def __init__(self, config: U2NetConfig) -> None:
        super().__init__()
        first, *rest = config.encoder
        self.encoder = nn.ModuleList((ResidualUBlock(first, config.stride), *(ResidualUBlock(stage) for stage in rest)))
        self.decoder = nn.ModuleList(ResidualUBlock(stage) for stage in config.decoder)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the six maps under the side outputs of `(N, 3, H, W)`.

        Returns:
            En6's map, the smallest, first; De1's, at H / stride, last.
        """
        _check_input(x)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            x = stage(x if level == 0 else halve(x))
            skips.append(x)
        maps = [skips.pop()]
        for stage in self.decoder:
            skip = skips.pop()
            maps.append(stage(torch.cat((resize_like(maps[-1], skip), skip), dim=1)))
        return maps


class U2Net(nn.Module):
    """U²-Net in its training form.

    Inputs are RGB with ImageNet's normalisation, at least 32 px on each side. Training mode returns seven logit maps:
    the fused one `(N, out_channels, H, W)`, then the six side outputs `(N, out_channels, H / stride, W / stride)`, the
    smallest stage first. Evaluation mode returns the sigmoid of the fused map, in [0, 1].
    """

    def __init__(self, config: U2NetConfig = LITE, out_channels: int = 1) -> None:
        super().__init__()
        self.config = replace(config, out_channels=out_channels)
        self.body = U2NetBody(self.config)
        self.sides = nn.ModuleList(
            nn.Conv2d(channels, out_channels, 3, padding=1) for channels in self.config.side_channels()
        )
        self.fuse = nn.Conv2d(len(self.sides) * out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the network on `(N, 3, H, W)`; see the class for the result.

        Raises:
            ValueError: the input is not `(N, 3, H, W)` with both sides at least 32 px.
        """
        maps = self.body(x)
        sides = [resize_like(side(m), maps[-1]) for side, m in zip(self.sides, maps, strict=True)]
        fused = resize_like(self.fuse(torch.cat(sides, dim=1)), x)
        return (fused, *sides) if self.training else torch.sigmoid(fused)


class FusedU2Net(nn.Module):
    """U²-Net in its inference form: batch norm folded, only the fused map computed.

    Both steps are exact. The 1x1 fusion and the resizing are linear, so each side convolution is multiplied by its
    weights in the fusion, and the six results are summed at the size of De1's map.
    """

    def __init__(self, trained: U2Net) -> None:
        super().__init__()
        self.config = trained.config
        self.body = U2NetBody(trained.config)
        self.body.load_state_dict(trained.body.state_dict())
        self.body.eval()
        for module in self.body.modules():
            if isinstance(module, ConvBlock):
                module.fold()
        self.sides = nn.ModuleList(_fused_sides(trained.sides, trained.fuse))
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Compute alpha: `(N, 3, H, W)` -> `(N, out_channels, H, W)` in [0, 1]."""
        maps = self.body(x)
        fused = self.sides[-1](maps[-1])
        for side, m in zip(self.sides[:-1], maps[:-1], strict=True):
            fused = fused + resize_like(side(m), fused)
        return torch.sigmoid(resize_like(fused, x))


def _fused_sides(sides: Iterable[nn.Module], fuse: nn.Conv2d) -> list[nn.Conv2d]:
    """Multiply each side convolution by its columns of the 1x1 fusion; the last one gets the fusion's bias."""
    out = fuse.out_channels
    weights = torch.split(fuse.weight.detach()[:, :, 0, 0], out, dim=1)
    fused = [_scaled_side(side, weight) for side, weight in zip(sides, weights, strict=True)]
    if fuse.bias is not None and fused[-1].bias is not None:
        fused[-1].bias.data += fuse.bias.detach()
    return fused


def _scaled_side(side: nn.Module, weight: Tensor) -> nn.Conv2d:
    """Return a side convolution multiplied by `(out_channels, side_channels)` weights."""
    assert isinstance(side, nn.Conv2d)
    assert side.bias is not None
    scaled = nn.Conv2d(side.in_channels, weight.shape[0], 3, padding=1)
    scaled.weight.data = torch.einsum("os,sihw->oihw", weight, side.weight.detach())
    scaled.bias = nn.Parameter(weight @ side.bias.detach())
    return scaled


def _check_input(x: Tensor) -> None:
    """Raise ValueError if the input is not `(N, 3, H, W)` or too small."""
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[-2:]) < MIN_SIZE_PX:
        raise ValueError(
            f"network input has shape {tuple(x.shape)}; it must be (N, 3, H, W) with H and W >= {MIN_SIZE_PX} px"
        )
