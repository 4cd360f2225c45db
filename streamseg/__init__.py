"""Streaming video matting: decode -> infer -> smooth -> composite -> sink.

    import streamseg as ss

    settings = ss.load_settings(overrides={"bg": "beach.jpg"})
    engine = ss.engine_of(settings.infer)
    with ss.open_source("talk.mp4") as source, ss.open_sink("out.mp4", source.info) as sink:
        ss.run(source, engine, sink, settings)

The files, in the order that a frame passes them:

    decode/     1  file, animation, photo, folder of photos, camera, test pattern -> Frame
    infer.py    2  Frames -> Batch with alpha; `engines/` run the network of `u2net.py`, `weights.py` loads it and
                   `download.py` fetches what is not packaged; `quantised.py` is its int8 form, `precision.py` chooses,
                   live `select.py`, `official.py` knows the authors' checkpoints; `foreign.py` is any other network,
                   `graph.py` what its file says; `motion.py` runs it on some frames only and moves the mattes between
    smooth.py   3  temporal filters: alpha in, alpha out
    composite.py 4 matte to full size, `blend.py` before a background, `planes.py` in a decoder's own planes;
                   `background.py` is what stands behind, `foreground.py` finds the colour under soft pixels of cut-outs
    gpu_line.py    stations 2 to 4 in one on a GPU, with `gpu_pixels.py`
    sink/       5  video files with or without alpha, animations, picture sequences, preview window, virtual camera
    pipeline.py    wires them: threads, live or offline, statistics

Around it: `batch.py` runs it over folders, in the processes of `worker.py`, `probe.py` says what a file is, `bench.py`
measures, and `bench_overlap.py` watches a GPU for it. `hevc.py` and `stacked.py` are ways to keep alpha in a file that
decode/ and sink/ share. `cpu.py`, `cuda.py` and `nvidia.py` know the machine, `scratch.py` keeps what every frame needs
for a moment, `atomic.py` places files whole, `interrupt.py` is about Ctrl-C.

Nothing heavy is imported before it is used. The stations themselves are called like their files, so they are not
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
    from streamseg.infer.engines import engine_of, open_engine
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
    "engine_of": "infer.engines",
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
    "engine_of",
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
