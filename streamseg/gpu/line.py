"""Stages 2 to 4 in one, on a GPU: a frame goes up once, and comes back as it will be shown."""

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
from streamseg.composite.guided_filter import guide_of
from streamseg.composite.stage import apply_matte
from streamseg.frames import Frame
from streamseg.gpu import ops as pixels
from streamseg.hardware import cuda
from streamseg.image import Pixels
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.infer.every_frame import in_batches
from streamseg.infer.letterbox import Letterbox, letterbox_of, small_pictures
from streamseg.settings import Settings
from streamseg.smooth.stage import MatteSmoother
from streamseg.yuv import BLACK, WHITE, YuvImage


def on_gpu(
    frames: Iterable[Frame],
    engine: StreamedEngine,
    settings: Settings,
    batch_size: int,
    ahead: int,
    given: Background | None = None,
) -> Iterator[Frame]:
    """Finished frames, as `composite` gives them.

    Args:
        frames: pictures of one size.
        engine: runs the network on the GPU.
        settings: the settings of the stages.
        batch_size: frames that go up together.
        ahead: batches that may be on their way behind one that is waited for.
        given: a background that is open, in the place of the one that the settings name; stays open.
    """
    with chosen_background(settings.composite, given) as background:
        line = GpuLine(engine, settings, background, batch_size)
        yield from chain.from_iterable(cuda.in_order(in_batches(frames, batch_size), line.submit, ahead))


@dataclass(frozen=True)
class _Job:
    """What a batch is for.

    Attributes:
        inputs: of each buffer, what every frame puts there.
        backs: the background of every frame, unless it is made of the frame.
        result_shape: of a frame's result, in bytes.
        work: from all buffers to the results, on the device.
        picture: from a frame and its result to what is shown.
    """

    inputs: list[Sequence[Pixels]]
    backs: list[YuvImage]
    result_shape: tuple[int, ...]
    work: Callable[..., Tensor]
    picture: Callable[[Frame, Pixels], Pixels | YuvImage]


class GpuLine:
    """Mattes batches of frames; the next ones are uploaded meanwhile and earlier ones downloaded."""

    def __init__(
        self, engine: StreamedEngine, settings: Settings, background: Background | None, batch_size: int
    ) -> None:
        self._engine, self._settings = engine, settings
        self._background = None if settings.composite.matte_only else background
        self._batch_size, self._streams = batch_size, cuda.CudaStreams(engine.place)
        self._smoother = MatteSmoother(settings.smooth)
        self._network: cuda.Network = engine.on_device
        self._slots: deque[_Slot] = deque()
        self._sizes: list[tuple[int, ...]] = []

    @torch.inference_mode()
    def submit(self, frames: tuple[Frame, ...]) -> Callable[[], list[Frame]]:
        """Queues frames of one size and returns at once.

        Returns:
            What waits for the finished frames; to be called while fewer than `cuda.SLOTS` batches were queued after it.
        """
        letterbox = letterbox_of(frames[0], self._settings.infer.input_size)
        pictures = [frame.image for frame in frames if isinstance(frame.image, YuvImage)]
        if self._background and len(pictures) == len(frames):
            job = self._in_planes(frames, pictures, letterbox, self._background)
        else:
            job = self._as_mattes(frames, letterbox)
        slot = self._next_slot(job, letterbox)
        slot.run(job)
        return lambda: [
            replace(frame, image=job.picture(frame, values))
            for frame, values in zip(frames, slot.results(), strict=False)
        ]

    def _in_planes(
        self, frames: tuple[Frame, ...], pictures: list[YuvImage], letterbox: Letterbox, background: Background
    ) -> _Job:
        """All is done on the GPU; a blurred frame is made where the frame is."""

        def work(*planes: Tensor) -> Tensor:
            front, back = [pixels.images(plane) for plane in planes[:3]], [pixels.images(plane) for plane in planes[3:]]
            small = [pixels.averaged(plane, (letterbox.height, letterbox.width)) for plane in front]
            alpha = self._alpha(frames, pixels.bordered(pixels.rgb_of(*small), letterbox), letterbox)
            return pixels.blended(front, small[0], alpha, back)

        fronts = [picture.as_bt709() for picture in pictures]
        blurs = isinstance(background, BlurBackground)
        backs = [] if blurs else [background.yuv_at(frame).as_bt709() for frame in frames]
        sample_count = sum(values.size for values in fronts[0].values)
        return _Job(_by_plane(fronts), backs, (sample_count,), work, _planes_of)

    def _as_mattes(self, frames: tuple[Frame, ...], letterbox: Letterbox) -> _Job:
        """The CPU makes cut-outs, and composites of frames in RGB, from the full mattes."""

        def work(small: Tensor, luma: Tensor) -> Tensor:
            alpha = self._alpha(frames, small.permute(0, 3, 1, 2).float(), letterbox)
            return pixels.matte(luma, alpha)

        def picture(frame: Frame, matte: Pixels) -> Pixels | YuvImage:
            return apply_matte(frame, matte.copy(), self._background, self._settings.composite.matte_only)

        small = small_pictures([frame.image for frame in frames], letterbox)
        lumas = [_luma(frame.image) for frame in frames]
        return _Job([list(small), lumas], [], lumas[0].shape, work, picture)

    def _alpha(self, frames: tuple[Frame, ...], rgb: Tensor, letterbox: Letterbox) -> Tensor:
        """The network's input `(N, 3, input_height, input_width)` in levels -> steady alpha `(N, 1, h, w)`."""
        # A captured network writes its next result into the same memory, and the filter keeps the last.
        alpha = letterbox.crop(self._network(rgb)).clone()
        steady = [self._smoother.step(frame, one) for frame, one in zip(frames, alpha, strict=False)]
        return torch.cat([torch.stack(steady), alpha[len(frames) :]])

    def _next_slot(self, job: _Job, letterbox: Letterbox) -> _Slot:
        """The one that was used longest ago; new ones when the sizes change."""
        sizes = [arrays[0].shape for arrays in (*job.inputs, *_by_plane(job.backs[:1]))]
        if sizes != self._sizes:
            self._sizes = sizes
            self._slots = deque(
                _Slot(self._streams, self._batch_size, sizes, job.result_shape) for _ in range(cuda.SLOTS)
            )
            shape = self._batch_size, 3, letterbox.input_height, letterbox.input_width
            example = torch.zeros(shape, device=self._engine.place)
            self._network = cuda.captured(self._streams, self._engine.on_device, example)
        self._slots.rotate(-1)
        return self._slots[-1]


class _Slot:
    """A batch on its way."""

    def __init__(
        self, streams: cuda.CudaStreams, count: int, sizes: list[tuple[int, ...]], result_shape: tuple[int, ...]
    ) -> None:
        given: list[cuda.Buffer] = [((count, *size), torch.uint8) for size in sizes]
        self._slot = cuda.StagingBuffers(streams, given, ((count, *result_shape), torch.uint8))
        self._backs: list[YuvImage] = []

    def run(self, job: _Job) -> None:
        """Backgrounds that were the last ones here too are there already."""
        given = list(job.inputs)
        if job.backs != self._backs:
            given += _by_plane(job.backs)
            self._backs = job.backs
        for target, arrays in zip(self._slot.inputs, given, strict=False):
            for place, values in zip(target.numpy(), arrays, strict=False):
                np.copyto(place, values)
        self._slot.run(job.work, changed=len(given))

    def results(self) -> Pixels:
        """Waits for them; of use until the next `run`."""
        return self._slot.result().numpy()


def _luma(picture: Pixels | YuvImage) -> Pixels:
    """`(H, W)` in limited range."""
    guide, black, white = guide_of(picture)
    scale = (WHITE - BLACK) / (white - black)
    return guide if black == BLACK else cv2.convertScaleAbs(guide, None, scale, BLACK).astype(np.uint8, copy=False)


def _by_plane(pictures: list[YuvImage]) -> list[Sequence[Pixels]]:
    """All lumas, all blue and all red differences."""
    return list(zip(*(picture.values for picture in pictures), strict=True))


def _planes_of(frame: Frame, samples: Pixels) -> YuvImage:
    """Three planes one after the other, row by row."""
    out = YuvImage.empty(frame.image.shape)
    for target in out.values:
        target[:] = samples[: target.size].reshape(target.shape)
        samples = samples[target.size :]
    return out
