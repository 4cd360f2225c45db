"""The GPU stage: upload frames once, infer, smooth and composite on the GPU, and download finished frames.

Optical flow and gate stay on the CPU's side: here `one-euro` smooths in place of `motion`, and nothing is gated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.composite.background import Background, BlurBackground, chosen_background
from streamseg.composite.look import Look
from streamseg.composite.stage import composed
from streamseg.frames import Frame
from streamseg.gpu import ops
from streamseg.hardware import cuda
from streamseg.image import Pixels
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.infer.every_frame import in_batches
from streamseg.infer.letterbox import Letterbox, letterbox_of, small_images
from streamseg.settings import Settings
from streamseg.smooth.stage import MatteSmoother, on_device
from streamseg.yuv import BLACK, WHITE, AnyImage, YuvImage


def composite_on_gpu(
    frames: Iterable[Frame],
    engine: StreamedEngine,
    settings: Settings,
    batch_size: int,
    ahead: int,
    override: Background | None = None,
) -> Iterator[Frame]:
    """Infer, smooth and composite on a GPU; yield what `composite` yields.

    Args:
        frames: images of one size.
        engine: runs the network on the GPU.
        settings: of the stages.
        batch_size: frames uploaded together.
        ahead: batches in flight behind the one that is waited for.
        override: an open background to take instead of the settings', which is not closed.
    """
    with chosen_background(settings.composite, override) as background:
        stage = GpuStage(engine, settings, background, batch_size)
        yield from chain.from_iterable(cuda.in_order(in_batches(frames, batch_size), stage.submit, ahead))


@dataclass(frozen=True)
class _BatchJob:
    """The work on one batch.

    Attributes:
        inputs: for each input buffer, one array a frame.
        backs: one background a frame, unless the GPU computes it from the frame.
        result_shape: of a frame's result, uint8.
        work: maps the input buffers to the results, on the device.
        finish: maps a frame and its result to the finished image.
    """

    inputs: list[Sequence[Pixels]]
    backs: list[YuvImage]
    result_shape: tuple[int, ...]
    work: Callable[..., Tensor]
    finish: Callable[[Frame, Pixels], AnyImage]


class GpuStage:
    """Processes batches of frames on a GPU, while later ones are uploaded and earlier ones downloaded."""

    def __init__(
        self, engine: StreamedEngine, settings: Settings, background: Background | None, batch_size: int
    ) -> None:
        self._engine, self._settings = engine, settings
        self._background = None if settings.composite.matte_only else background
        self._look = Look.of(settings.composite)
        self._batch_size, self._streams = batch_size, cuda.CudaStreams(engine.torch_device)
        self._smoother = MatteSmoother(on_device(settings.smooth))
        self._network: cuda.Network = engine.on_device
        self._buffers: deque[_BatchBuffers] = deque()
        self._sizes: list[tuple[int, ...]] = []

    @torch.inference_mode()
    def submit(self, frames: tuple[Frame, ...]) -> Callable[[], list[Frame]]:
        """Queue frames of one size and return at once.

        Returns:
            A function that waits for the finished frames; call it while fewer than `cuda.SLOTS` batches have been
            submitted after this one.
        """
        letterbox = letterbox_of(frames[0], self._settings.infer.input_size)
        images = [frame.image for frame in frames if isinstance(frame.image, YuvImage)]
        fast = self._settings.composite.foreground == "fast" and not self._look
        if self._background and len(images) == len(frames) and fast:
            job = self._yuv_job(frames, images, letterbox, self._background)
        else:
            job = self._matte_job(frames, letterbox)
        buffers = self._next_buffers(job, letterbox)
        buffers.run(job)
        return lambda: [
            replace(frame, image=job.finish(frame, values))
            for frame, values in zip(frames, buffers.results(), strict=False)
        ]

    def _yuv_job(
        self, frames: tuple[Frame, ...], images: list[YuvImage], letterbox: Letterbox, background: Background
    ) -> _BatchJob:
        """Composite on the GPU in YUV, with a blurred background computed there."""

        def work(*planes: Tensor) -> Tensor:
            front, back = [ops.images(plane) for plane in planes[:3]], [ops.images(plane) for plane in planes[3:]]
            small = [ops.averaged(plane, (letterbox.height, letterbox.width)) for plane in front]
            alpha = self._alpha(frames, ops.bordered(ops.rgb_of(*small), letterbox), letterbox)
            return ops.composited(front, small, alpha, back)

        fronts = [image.as_bt709() for image in images]
        blurs = isinstance(background, BlurBackground)
        backs = [] if blurs else [background.yuv_at(frame).as_bt709() for frame in frames]
        sample_count = sum(plane.size for plane in fronts[0].planes)
        return _BatchJob(_group_by_plane(fronts), backs, (sample_count,), work, _unpack_yuv)

    def _matte_job(self, frames: tuple[Frame, ...], letterbox: Letterbox) -> _BatchJob:
        """Compute full-size mattes on the GPU; the CPU makes foregrounds, composites of RGB frames and the look."""

        def work(small: Tensor, *planes: Tensor) -> Tensor:
            alpha = self._alpha(frames, small.permute(0, 3, 1, 2).float(), letterbox)
            return ops.matte(planes, alpha)

        def finish(frame: Frame, matte: Pixels) -> AnyImage:
            chosen = self._settings.composite
            return composed(frame, matte.copy(), self._background, chosen.matte_only, self._look, chosen.foreground)

        small = small_images([frame.image for frame in frames], letterbox)
        planes = [_limited_planes(frame.image) for frame in frames]
        return _BatchJob([list(small), *zip(*planes, strict=True)], [], planes[0][0].shape, work, finish)

    def _alpha(self, frames: tuple[Frame, ...], rgb: Tensor, letterbox: Letterbox) -> Tensor:
        """Compute smoothed alpha `(N, 1, h, w)` in [0, 1] for `(N, 3, input_height, input_width)` in [0, 255]."""
        # A captured network overwrites its result at the next call, and the filter keeps the last one.
        alpha = letterbox.crop(self._network(rgb)).clone()
        smoothed = [self._smoother.step(frame, one) for frame, one in zip(frames, alpha, strict=False)]
        return torch.cat([torch.stack(smoothed), alpha[len(frames) :]])

    def _next_buffers(self, job: _BatchJob, letterbox: Letterbox) -> _BatchBuffers:
        """Return the buffers used longest ago; allocate new ones and capture the network again if sizes change."""
        sizes = [arrays[0].shape for arrays in (*job.inputs, *_group_by_plane(job.backs[:1]))]
        if sizes != self._sizes:
            self._sizes = sizes
            self._buffers = deque(
                _BatchBuffers(self._streams, self._batch_size, sizes, job.result_shape) for _ in range(cuda.SLOTS)
            )
            shape = self._batch_size, 3, letterbox.input_height, letterbox.input_width
            example = torch.zeros(shape, device=self._engine.torch_device)
            self._network = cuda.capture_graph(self._streams, self._engine.on_device, example)
        self._buffers.rotate(-1)
        return self._buffers[-1]


class _BatchBuffers:
    """Staging buffers of a batch."""

    def __init__(
        self, streams: cuda.CudaStreams, count: int, sizes: list[tuple[int, ...]], result_shape: tuple[int, ...]
    ) -> None:
        buffers: list[cuda.Buffer] = [((count, *size), torch.uint8) for size in sizes]
        self._staging = cuda.StagingBuffers(streams, buffers, ((count, *result_shape), torch.uint8))
        self._backs: list[YuvImage] = []

    def run(self, job: _BatchJob) -> None:
        """Copy the inputs into the buffers and queue the work; the last run's backgrounds are not uploaded again."""
        inputs = list(job.inputs)
        if job.backs != self._backs:
            inputs += _group_by_plane(job.backs)
            self._backs = job.backs
        for target, arrays in zip(self._staging.inputs, inputs, strict=False):
            for place, values in zip(target.numpy(), arrays, strict=False):
                np.copyto(place, values)
        self._staging.run(job.work, changed=len(inputs))

    def results(self) -> Pixels:
        """Wait for the results, valid until the next `run`."""
        return self._staging.result().numpy()


def _limited_planes(image: AnyImage) -> tuple[Pixels, ...]:
    """Return Y `(H, W)`, Cb and Cr of half its sides, uint8, with black and white as in limited range."""
    if image.black == BLACK:
        return image.planes
    scale = (WHITE - BLACK) / (image.white - image.black)
    return tuple(cv2.convertScaleAbs(plane, None, scale, BLACK).astype(np.uint8, copy=False) for plane in image.planes)


def _group_by_plane(images: list[YuvImage]) -> list[Sequence[Pixels]]:
    """Group planes of images: all Y, all Cb, all Cr."""
    return list(zip(*(image.planes for image in images), strict=True))


def _unpack_yuv(frame: Frame, samples: Pixels) -> YuvImage:
    """Unpack the planes Y, Cb and Cr, stored row by row one after the other."""
    out = YuvImage.empty(frame.image.shape)
    for target in out.planes:
        target[:] = samples[: target.size].reshape(target.shape)
        samples = samples[target.size :]
    return out
