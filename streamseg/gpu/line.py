"""Stations 2 to 4 in one, on a GPU: a frame goes up once, and comes back as it will be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.composite.background import Background, Blurred, chosen_background
from streamseg.composite.guided_filter import guide_of
from streamseg.composite.stage import apply_matte
from streamseg.frames import Frame
from streamseg.gpu import ops as pixels
from streamseg.hardware import cuda
from streamseg.image import Pixels
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.infer.every_frame import in_batches
from streamseg.infer.letterbox import Inset, inset_of, small_pictures
from streamseg.settings import Settings
from streamseg.smooth.stage import Steadied
from streamseg.yuv import BLACK, WHITE, Planes


def on_gpu(
    frames: Iterable[Frame], engine: StreamedEngine, settings: Settings, batch_size: int, ahead: int
) -> Iterator[Frame]:
    """Finished frames, as `composite` gives them.

    Args:
        frames: pictures of one size.
        engine: runs the network on the GPU.
        settings: the knobs of the stations.
        batch_size: frames that go up together.
        ahead: batches that may be on their way behind one that is waited for.
    """
    with chosen_background(settings.composite) as background:
        line = GpuLine(engine, settings, background, batch_size)
        yield from chain.from_iterable(cuda.in_order(in_batches(frames, batch_size), line.submit, ahead))


@dataclass(frozen=True)
class _Job:
    """What a batch is for.

    Attributes:
        given: of each buffer, what every frame puts there.
        backs: the background of every frame, unless it is made of the frame.
        result_shape: of a frame's result, in bytes.
        work: from all buffers to the results, on the device.
        picture: from a frame and its result to what is shown.
    """

    given: list[Sequence[Pixels]]
    backs: list[Planes]
    result_shape: tuple[int, ...]
    work: Callable[..., Tensor]
    picture: Callable[[Frame, Pixels], Pixels | Planes]


class GpuLine:
    """Mattes batches of frames; the next ones are uploaded meanwhile and earlier ones downloaded."""

    def __init__(
        self, engine: StreamedEngine, settings: Settings, background: Background | None, batch_size: int
    ) -> None:
        self._engine, self._settings = engine, settings
        self._background = None if settings.composite.matte_only else background
        self._batch_size, self._lanes = batch_size, cuda.Lanes(engine.place)
        self._steadied = Steadied(settings.smooth)
        self._network: cuda.Network = engine.on_device
        self._slots: deque[_Slot] = deque()
        self._sizes: list[tuple[int, ...]] = []

    @torch.inference_mode()
    def submit(self, frames: tuple[Frame, ...]) -> Callable[[], list[Frame]]:
        """Queues frames of one size and returns at once.

        Returns:
            What waits for the finished frames; to be called while fewer than `cuda.SLOTS` batches were queued after it.
        """
        inset = inset_of(frames[0], self._settings.infer.input_size)
        pictures = [frame.picture for frame in frames if isinstance(frame.picture, Planes)]
        if self._background and len(pictures) == len(frames):
            job = self._in_planes(frames, pictures, inset, self._background)
        else:
            job = self._as_mattes(frames, inset)
        slot = self._next_slot(job, inset)
        slot.run(job)
        return lambda: [
            replace(frame, picture=job.picture(frame, values))
            for frame, values in zip(frames, slot.results(), strict=False)
        ]

    def _in_planes(
        self, frames: tuple[Frame, ...], pictures: list[Planes], inset: Inset, background: Background
    ) -> _Job:
        """All is done on the GPU; a blurred frame is made where the frame is."""

        def work(*planes: Tensor) -> Tensor:
            front, back = [pixels.images(plane) for plane in planes[:3]], [pixels.images(plane) for plane in planes[3:]]
            small = [pixels.averaged(plane, (inset.height, inset.width)) for plane in front]
            alpha = self._alpha(frames, pixels.bordered(pixels.rgb_of(*small), inset), inset)
            return pixels.blended(front, small[0], alpha, back)

        fronts = [picture.as_bt709() for picture in pictures]
        blurs = isinstance(background, Blurred)
        backs = [] if blurs else [background.planes_behind(frame).as_bt709() for frame in frames]
        sample_count = sum(values.size for values in fronts[0].values)
        return _Job(_by_plane(fronts), backs, (sample_count,), work, _planes_of)

    def _as_mattes(self, frames: tuple[Frame, ...], inset: Inset) -> _Job:
        """The CPU makes cut-outs, and composites of frames in RGB, from the full mattes."""

        def work(small: Tensor, luma: Tensor) -> Tensor:
            alpha = self._alpha(frames, small.permute(0, 3, 1, 2).float(), inset)
            return pixels.matte(luma, alpha)

        def picture(frame: Frame, matte: Pixels) -> Pixels | Planes:
            return apply_matte(frame, matte.copy(), self._background, self._settings.composite.matte_only)

        small = small_pictures([frame.picture for frame in frames], inset)
        lumas = [_luma(frame.picture) for frame in frames]
        return _Job([list(small), lumas], [], lumas[0].shape, work, picture)

    def _alpha(self, frames: tuple[Frame, ...], rgb: Tensor, inset: Inset) -> Tensor:
        """The network's input `(N, 3, input_height, input_width)` in levels -> steady alpha `(N, 1, h, w)`."""
        # A captured network writes its next result into the same memory, and the filter keeps the last.
        alpha = inset.crop(self._network(rgb)).clone()
        steady = [self._steadied.step(frame, one) for frame, one in zip(frames, alpha, strict=False)]
        return torch.cat([torch.stack(steady), alpha[len(frames) :]])

    def _next_slot(self, job: _Job, inset: Inset) -> _Slot:
        """The one that was used longest ago; new ones when the sizes change."""
        sizes = [arrays[0].shape for arrays in (*job.given, *_by_plane(job.backs[:1]))]
        if sizes != self._sizes:
            self._sizes = sizes
            self._slots = deque(
                _Slot(self._lanes, self._batch_size, sizes, job.result_shape) for _ in range(cuda.SLOTS)
            )
            shape = self._batch_size, 3, inset.input_height, inset.input_width
            example = torch.zeros(shape, device=self._engine.place)
            self._network = cuda.captured(self._lanes, self._engine.on_device, example)
        self._slots.rotate(-1)
        return self._slots[-1]


class _Slot:
    """A batch on its way."""

    def __init__(
        self, lanes: cuda.Lanes, count: int, sizes: list[tuple[int, ...]], result_shape: tuple[int, ...]
    ) -> None:
        given: list[cuda.Buffer] = [((count, *size), torch.uint8) for size in sizes]
        self._slot = cuda.Slot(lanes, given, ((count, *result_shape), torch.uint8))
        self._backs: list[Planes] = []

    def run(self, job: _Job) -> None:
        """Backgrounds that were the last ones here too are there already."""
        given = list(job.given)
        if job.backs != self._backs:
            given += _by_plane(job.backs)
            self._backs = job.backs
        for target, arrays in zip(self._slot.given, given, strict=False):
            for place, values in zip(target.numpy(), arrays, strict=False):
                np.copyto(place, values)
        self._slot.run(job.work, changed=len(given))

    def results(self) -> Pixels:
        """Waits for them; of use until the next `run`."""
        return self._slot.result().numpy()


def _luma(picture: Pixels | Planes) -> Pixels:
    """`(H, W)` in limited range."""
    guide, black, white = guide_of(picture)
    scale = (WHITE - BLACK) / (white - black)
    return guide if black == BLACK else cv2.convertScaleAbs(guide, None, scale, BLACK).astype(np.uint8, copy=False)


def _by_plane(pictures: list[Planes]) -> list[Sequence[Pixels]]:
    """All lumas, all blue and all red differences."""
    return list(zip(*(picture.values for picture in pictures), strict=True))


def _planes_of(frame: Frame, samples: Pixels) -> Planes:
    """Three planes one after the other, row by row."""
    out = Planes.empty(frame.picture.shape)
    for target in out.values:
        target[:] = samples[: target.size].reshape(target.shape)
        samples = samples[target.size :]
    return out
