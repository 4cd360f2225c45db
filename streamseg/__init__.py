"""Streaming video matting: decode -> infer -> smooth -> composite -> sink.

    >>> import streamseg as ss
    >>> result = ss.matte("samples/portrait.jpg")
    >>> result.alpha.shape, result.rgba.shape, result.over("samples/beach.jpg").shape
    ((512, 512), (512, 512, 4), (512, 512, 3))

A loop of one's own, with the temporal filter's state kept from frame to frame:

    >>> session = ss.MattingSession("lite", device="auto", smooth="one-euro")
    >>> with ss.open_source("samples/talk.mp4") as source:
    ...     for frame, _ in zip(source, range(3)):
    ...         shown = session(frame.pixels, pts=frame.pts).over("blur")

A whole source, with decoder and network running ahead:

    >>> covered = [result.alpha.mean() / 255 for result, _ in zip(session.stream("samples/talk.mp4"), range(3))]

A file, as `streamseg video` makes it:

    >>> done = ss.convert("samples/talk.mp4", "cut.webm", end="0.2", stride=4)
    >>> done.statistics.frames
    5

The packages, in the order that a frame passes them:

    decode/     1  file, animation, photo, folder of photos, camera, test pattern -> Frame
    infer/      2  Frames -> Batch with alpha: on every frame, on keyframes with optical flow between, or live;
                   engines/ run the network on OpenVINO, ONNX Runtime or PyTorch
    smooth/     3  filters, optical flow, gate, subject, scene cuts: alpha in, alpha out
    composite/  4  guided filter, foreground colour, background, blending, and the look: feather, light, shadow
    sink/       5  video files with or without alpha, animations, image sequences, preview window, snapshots and
                   recordings of a live run, virtual camera
    pipeline.py    threads and queues, live or offline

    frames.py, image.py, yuv.py   what passes from stage to stage     settings.py   every setting and its default
    model/      the U²-Net and its weights                            gpu/          stages 2 to 4 on a GPU
    media/      what decode and sink share                            hardware/     what this machine has
    photos.py   photos, without time       probe.py   what a file is      batch/   folders of videos
    live/       the live tool: page, feeds, followed files     controls.py   the state that keys and page change
    doctor/     what a machine lacks       qa/         judges a matte without truth
    bench/      measures the pipeline      cli/        one file a command

Nothing heavy is imported before it is used. The stages themselves are called like their files, so they are not
public names here: `from streamseg.infer.every_frame import infer`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from streamseg.composite.background import Background, open_background
    from streamseg.decode import BaseSource, Source, open_camera, open_source
    from streamseg.errors import StreamsegError
    from streamseg.frames import Batch, Frame, VideoInfo
    from streamseg.infer.engines import load_engine, open_engine, register_engine
    from streamseg.infer.engines.base import Engine
    from streamseg.matting import Converted, MattingSession, Result, convert, matte
    from streamseg.model.u2net import FusedU2Net, U2Net
    from streamseg.model.weights import load_model, load_weights
    from streamseg.pipeline import run
    from streamseg.settings import Settings, load_settings
    from streamseg.sink import BaseSink, Sink, SinkClosed, open_sink
    from streamseg.smooth.filters import Filter
    from streamseg.statistics import Statistics
    from streamseg.yuv import RgbImage, YuvImage

# OpenVINO's converter reports its use to Google Analytics unless told not to, and nobody here was asked. Without this
# package it uses its own stand-in, which sends nothing; who imported it before us has decided otherwise.
sys.modules.setdefault("openvino_telemetry", cast(Any, None))


class _OpenCVFirst(MetaPathFinder):
    """Imports OpenCV when PyAV is about to be imported.

    The wheels of both bring libraries of X11 under the same names, and who is imported first provides them to both.
    With PyAV's, OpenCV hangs for ever when it opens a window.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "av":
            sys.meta_path.remove(self)
            import_module("cv2")


if sys.platform == "linux":
    sys.meta_path.insert(0, _OpenCVFirst())

_HOME = {
    "Background": "composite.background",
    "BaseSink": "sink",
    "BaseSource": "decode",
    "Batch": "frames",
    "Converted": "matting",
    "Engine": "infer.engines.base",
    "Filter": "smooth.filters",
    "Frame": "frames",
    "FusedU2Net": "model.u2net",
    "MattingSession": "matting",
    "Result": "matting",
    "RgbImage": "yuv",
    "Settings": "settings",
    "Sink": "sink",
    "SinkClosed": "sink",
    "Source": "decode",
    "Statistics": "statistics",
    "StreamsegError": "errors",
    "U2Net": "model.u2net",
    "VideoInfo": "frames",
    "YuvImage": "yuv",
    "convert": "matting",
    "load_engine": "infer.engines",
    "load_model": "model.weights",
    "load_settings": "settings",
    "load_weights": "model.weights",
    "matte": "matting",
    "open_background": "composite.background",
    "open_camera": "decode",
    "open_engine": "infer.engines",
    "open_sink": "sink",
    "open_source": "decode",
    "register_engine": "infer.engines",
    "run": "pipeline",
}

__version__ = "0.1.0"

__all__ = [
    "Background",
    "BaseSink",
    "BaseSource",
    "Batch",
    "Converted",
    "Engine",
    "Filter",
    "Frame",
    "FusedU2Net",
    "MattingSession",
    "Result",
    "RgbImage",
    "Settings",
    "Sink",
    "SinkClosed",
    "Source",
    "Statistics",
    "StreamsegError",
    "U2Net",
    "VideoInfo",
    "YuvImage",
    "convert",
    "load_engine",
    "load_model",
    "load_settings",
    "load_weights",
    "matte",
    "open_background",
    "open_camera",
    "open_engine",
    "open_sink",
    "open_source",
    "register_engine",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'streamseg' has no attribute {name!r}")
    return getattr(import_module(f"streamseg.{_HOME[name]}"), name)
