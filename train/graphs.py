"""The network as an ONNX graph: float32, or int8 by post-training quantization; checked before it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamseg.errors import DataError, MissingExtraError
from streamseg.infer.engines import open_engine
from streamseg.infer.engines.onnx_engine import onnx_graph
from streamseg.infer.letterbox import Letterbox, network_input
from streamseg.media.atomic import atomic_write
from streamseg.model.quantized import FORMAT, SUFFIX, QuantizedNet
from streamseg.model.u2net import U2Net
from streamseg.model.weights import net_facts
from train.augment import resize
from train.data import Pair
from train.evaluate import evaluate
from train.metrics import Scores
from train.quantize import quantized

SIZE_PX = 320
CALIBRATION_IMAGES = 80
WATCHED_IMAGES = 8
"""Those of them on which int8 and float alpha are compared."""

MAX_LOSS = 0.005
"""What an exported network may lose of max F, or gain in MAE, against the float one before it is refused."""


def onnx_bytes(net: U2Net, card: Mapping[str, str]) -> bytes:
    """The fused network as ONNX: `frames` `(N, 3, h, w)`, normalised, to `alpha` `(N, 1, h, w)`; any N, h and w >= 32.

    Raises:
        MissingExtraError: the package onnx is not installed.
    """
    onnx = _package("onnx")
    graph = onnx.load_from_string(onnx_graph(net))
    return _with_card(graph, {"format": "streamseg-onnx-1", **net_facts(net), **card})


def int8_bytes(net: U2Net, card: Mapping[str, str], calibration: Sequence[Pair], check: Sequence[Pair]) -> bytes:
    """The network quantized to int8, as ONNX with quantize and dequantize nodes; see `train.quantize.quantized`.

    Args:
        net: the trained network.
        card: what the file's metadata shall tell; how it was quantized and what that cost is added.
        calibration: training pairs, of which some are shown to the network as it sees frames, at `SIZE_PX`.
        check: pairs that were not trained on.

    Raises:
        DataError: over `check` max F falls or MAE rises by more than `MAX_LOSS`, or a picture does not decode.
        MissingExtraError: nncf or onnx are not installed.
    """
    frames = list(_calibration_frames(calibration))
    squares = frames[1::2] or frames  # of one size, for which an engine compiles once
    watched = squares[:: -(-len(squares) // WATCHED_IMAGES)]
    graph, in_float = quantized(net, _package("onnx").load_from_string(onnx_bytes(net, {})), frames, watched)
    how = f"nncf {_package('nncf').__version__}, post-training, {len(frames)} images"
    left = f"; left in float: {', '.join(in_float)}" if in_float else ""
    cost = graph_cost(net, graph.SerializeToString(), check)
    told = {"format": FORMAT, **net_facts(net), **card, "quantization": how + left, "quantization_check": cost}
    if "name" in card:
        told["name"] = f"{card['name']}-int8"
    return _with_card(graph, told)


def graph_cost(net: U2Net, graph: bytes, check: Sequence[Pair]) -> str:
    """What an ONNX graph of `net` scores on pairs that were not trained on, beside `net` itself; both on OpenVINO.

    Raises:
        DataError: max F falls or MAE rises by more than `MAX_LOSS`, or a picture does not decode.
    """
    with TemporaryDirectory() as folder:
        candidate = Path(folder, f"candidate{SUFFIX}")
        candidate.write_bytes(graph)
        before, after = (_scores(one, check) for one in (net, QuantizedNet(candidate)))
    cost = f"max F {after.max_f:.4f} ({before.max_f:.4f} in float32), MAE {after.mae:.4f} ({before.mae:.4f})"
    if max(before.max_f - after.max_f, after.mae - before.mae) > MAX_LOSS:
        raise DataError(
            f"the exported network loses too much: {cost} on {len(check)} images; at most {MAX_LOSS} of either is "
            "allowed. Calibrate on images like those of the check, or keep the float weights"
        )
    return cost


def write_openvino(onnx_file: bytes, out: Path) -> None:
    """Writes an ONNX graph as OpenVINO's `.xml` and `.bin`, with its quantization as it is.

    Raises:
        OutputError: the files cannot be written.
    """
    import openvino as ov

    with TemporaryDirectory() as folder:
        source, target = Path(folder, "graph.onnx"), Path(folder, "graph.xml")
        source.write_bytes(onnx_file)
        ov.save_model(ov.Core().read_model(source), target, compress_to_fp16=False)
        # The weights first, since a graph without them does not open.
        atomic_write(out.with_suffix(".bin"), target.with_suffix(".bin").read_bytes())
        atomic_write(out, target.read_bytes())


def _calibration_frames(pairs: Sequence[Pair]) -> Iterator[Tensor]:
    """Pictures from all over the set: in turn as streamseg shows frames to the network, and squashed to a square."""
    places = np.linspace(0, len(pairs) - 1, min(len(pairs), CALIBRATION_IMAGES)).round().astype(int)
    for count, place in enumerate(places):
        image = pairs[place].load()[0]
        if count % 2:
            image = resize(image, (SIZE_PX, SIZE_PX), antialias=False)
        yield network_input([image], Letterbox.of(image.shape[0], image.shape[1], SIZE_PX))


def _scores(net: U2Net | QuantizedNet, pairs: Sequence[Pair]) -> Scores:
    """As streamseg runs: proportions kept, on the CPU."""
    return evaluate(open_engine("openvino", net).alpha, pairs, SIZE_PX, squash=False, device=torch.device("cpu"))


def _with_card(graph: Any, card: Mapping[str, str]) -> bytes:
    _package("onnx").helper.set_model_props(graph, dict(card))
    return bytes(graph.SerializeToString())


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError("exporting a graph", name, "train") from error
