"""Streaming video matting: decode -> infer -> smooth -> composite -> sink.

    import streamseg as ss

    settings = ss.load_settings(overrides={"bg": "beach.jpg"})
    engine = ss.load_engine(settings.infer)
    with ss.open_source("talk.mp4") as source, ss.open_sink("out.mp4", source.info) as sink:
        ss.run(source, engine, sink, settings)

The packages, in the order that a frame passes them:

    decode/     1  file, animation, photo, folder of photos, camera, test pattern -> Frame
    infer/      2  Frames -> Batch with alpha: on every frame, on keyframes with optical flow between, or live;
                   engines/ run the network on OpenVINO, ONNX Runtime or PyTorch
    smooth/     3  temporal filters, scene cuts: alpha in, alpha out
    composite/  4  guided filter, foreground colour, background, blending
    sink/       5  video files with or without alpha, animations, image sequences, preview window, virtual camera
    pipeline.py    threads and queues, live or offline

    frames.py, image.py, yuv.py   what passes from stage to stage     settings.py   every setting and its default
    model/      the U²-Net and its weights                            gpu/          stages 2 to 4 on a GPU
    media/      what decode and sink share                            hardware/     what this machine has
    photos.py   photos, without time       probe.py   what a file is      batch/   folders of videos
    bench/      measures the pipeline      cli/       one file a command

Nothing heavy is imported before it is used. The stages themselves are called like their files, so they are not
public names here: `from streamseg.infer.every_frame import infer`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from streamseg.decode import open_camera, open_source
    from streamseg.errors import StreamsegError
    from streamseg.frames import Batch, Frame, VideoInfo
    from streamseg.infer.engines import load_engine, open_engine
    from streamseg.model.u2net import FusedU2Net, U2Net
    from streamseg.model.weights import load_model, load_weights
    from streamseg.pipeline import run
    from streamseg.settings import Settings, load_settings
    from streamseg.sink import open_sink
    from streamseg.statistics import Statistics

# OpenVINO's converter reports its use to Google Analytics unless told not to, and nobody here was asked. Without this
# package it uses its own stand-in, which sends nothing; who imported it before us has decided otherwise.
sys.modules.setdefault("openvino_telemetry", cast(Any, None))

_HOME = {
    "Batch": "frames",
    "Frame": "frames",
    "FusedU2Net": "model.u2net",
    "Settings": "settings",
    "Statistics": "statistics",
    "StreamsegError": "errors",
    "U2Net": "model.u2net",
    "VideoInfo": "frames",
    "load_engine": "infer.engines",
    "load_model": "model.weights",
    "load_settings": "settings",
    "load_weights": "model.weights",
    "open_camera": "decode",
    "open_engine": "infer.engines",
    "open_sink": "sink",
    "open_source": "decode",
    "run": "pipeline",
}

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Frame",
    "FusedU2Net",
    "Settings",
    "Statistics",
    "StreamsegError",
    "U2Net",
    "VideoInfo",
    "load_engine",
    "load_model",
    "load_settings",
    "load_weights",
    "open_camera",
    "open_engine",
    "open_sink",
    "open_source",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'streamseg' has no attribute {name!r}")
    return getattr(import_module(f"streamseg.{_HOME[name]}"), name)
