"""Network weights: load by name or file, save as safetensors with a model card, and import official checkpoints.

The named weights, their hashes and download addresses are data: see `files/models.toml`.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from platformdirs import user_data_path
from torch import Tensor

from streamseg.errors import OutputError, WeightsError
from streamseg.media.atomic import atomic_write
from streamseg.model.foreign import ForeignNet, description_path, read_foreign
from streamseg.model.official import State, convert_state, official_names, read_onnx
from streamseg.model.quantized import QuantizedNet, is_quantized
from streamseg.model.u2net import CONFIGS, Architecture, U2Net

OFFICIAL: tuple[Architecture, ...] = ("lite", "full")
"""Architectures of the official checkpoints."""

FORMAT = "streamseg-1"
"""Value of the metadata key `format` in files that `save_weights` writes."""

Model = U2Net | QuantizedNet | ForeignNet
"""Network that an engine runs."""

MODELS = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """Named weights: one row of `models.toml`.

    Attributes:
        name: what `--model` takes.
        licence: of the weights.
        description: one line.
        file: file name.
        sha256: of the file, in hexadecimal.
        url: where to download the file; empty for packaged weights.
        size_bytes: of a file to download.
    """

    name: str
    licence: str
    description: str
    file: str
    sha256: str
    url: str = ""
    size_bytes: int = 0

    @property
    def path(self) -> Path:
        """Path of the file, which may not be downloaded yet."""
        return downloads_folder() / self.file if self.url else MODELS / self.file

    @property
    def is_there(self) -> bool:
        """Whether the file exists."""
        return self.path.is_file()


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Description of a weights file.

    Attributes:
        name: of the weights.
        path: of the file.
        architecture: of the network.
        out_channels: maps of the output.
        parameters: their number, without the batch norms' statistics.
        size_bytes: of the file.
        metadata: rest of the model card; empty for files of others.
    """

    name: str
    path: Path
    architecture: Architecture
    out_channels: int
    parameters: int
    size_bytes: int
    metadata: Mapping[str, str]


def list_weights() -> list[RegistryEntry]:
    """List the named weights, packaged or not."""
    return [RegistryEntry(**row) for row in _registry()["weights"]]


def downloads_folder() -> Path:
    """Return the folder in the user's data folder that `streamseg.model.download` downloads to."""
    return user_data_path("streamseg", appauthor=False) / "weights"


def _registry() -> dict[str, Any]:
    return tomllib.loads((MODELS / "models.toml").read_text(encoding="utf-8"))


def _known_card(digest: str) -> dict[str, str]:
    """Return the model card of a file without one, such as the authors' own, by its sha256."""
    found = [card for card in _registry().get("cards", []) if card["of"] == digest]
    return {key: value for card in found for key, value in card.items() if key != "of"}


def load_weights(name_or_path: str | Path) -> U2Net:
    """Load a network in evaluation mode, on the CPU, in float32.

    Args:
        name_or_path: a packaged name, or a file: .safetensors, .pth, .pt or .onnx.

    Raises:
        WeightsError: the weights are missing, damaged, unsafe or do not fit the network.
    """
    path = _resolve(name_or_path)
    if is_quantized(path):
        raise WeightsError(f"{path} holds an int8 network, which runs but has no weights to train or convert")
    return _load(path)[0]


def load_model(name_or_path: str | Path) -> Model:
    """Load what an engine runs: a network's weights, an int8 network named *.int8.onnx, or any other ONNX graph.

    Raises:
        WeightsError: as `load_weights` and `read_foreign`; a damaged int8 network shows only when an engine opens it.
    """
    path = _resolve(name_or_path)
    if is_quantized(path):
        return QuantizedNet(path)
    return _from_onnx(path) if path.suffix.lower() == ".onnx" else _load(path)[0]


def _from_onnx(path: Path) -> U2Net | ForeignNet:
    """Load the official U²-Net in our form, if no description is beside it; else a third-party graph."""
    if not description_path(path).exists():
        with suppress(WeightsError):
            return _load(path)[0]
    return read_foreign(path)


def read_info(name_or_path: str | Path) -> WeightsInfo:
    """Check and describe weights; raise the errors of `load_weights`."""
    path = _resolve(name_or_path)
    metadata = QuantizedNet(path).metadata() if is_quantized(path) else _card(path)
    own_keys = ("format", "name", "architecture", "out_channels", "parameters")
    return WeightsInfo(
        name=metadata.get("name", path.stem),
        path=path,
        architecture=CONFIGS[metadata["architecture"]].name,
        out_channels=int(metadata["out_channels"]),
        parameters=int(metadata["parameters"]),
        size_bytes=path.stat().st_size,
        metadata={key: value for key, value in metadata.items() if key not in own_keys},
    )


def _card(path: Path) -> dict[str, str]:
    """Return a file's model card, or a known one, with the facts of its network."""
    net, metadata = _load(path)
    return (metadata or _known_card(sha256_of(path))) | net_facts(net)


def net_facts(net: U2Net) -> dict[str, str]:
    """Return the entries of every model card that describe the network; `parameters` excludes batch norm statistics."""
    parameters = sum(parameter.numel() for parameter in net.parameters())
    config = net.config
    return {
        "architecture": config.name,
        "out_channels": str(config.out_channels),
        "parameters": str(parameters),
    }


def save_weights(path: Path, net: U2Net, metadata: Mapping[str, str]) -> None:
    """Write a network to a .safetensors file, atomically.

    Args:
        path: the file; an existing one is replaced.
        net: on any device, of any dtype and memory format.
        metadata: training_data, recipe, metrics, licence, and name if it is not the file's.

    Raises:
        OutputError: the file is not named .safetensors or cannot be written.
    """
    if path.suffix != ".safetensors":
        raise OutputError(f"cannot write weights to {path}: the name must end in .safetensors")
    facts = {"format": FORMAT, "architecture": net.config.name, "out_channels": str(net.config.out_channels)}
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in net.state_dict().items()}
    content = safetensors.torch.save(state, {"name": path.stem, **metadata, **facts})
    atomic_write(path, content)


def import_weights(source: Path, out: Path) -> WeightsInfo:
    """Convert a checkpoint (the official U²-Net's, its folded ONNX export, or `train`'s) to .safetensors.

    Args:
        source: a .pth, .pt, .onnx or .safetensors file; streamseg's metadata in it is kept.
        out: the .safetensors file to write.

    Raises:
        WeightsError: the source is missing, damaged, unsafe, does not fit, or is `out` itself.
        OutputError: `out` is not named .safetensors or cannot be written.
    """
    if source.resolve() == out.resolve():
        raise WeightsError(f"cannot import {source} onto itself; choose another output file")
    net, metadata = _load(_resolve(source))
    digest = sha256_of(source)
    licence = "as the source states (the official U²-Net weights are Apache-2.0)"
    card = {"licence": licence, **_known_card(digest), "recipe": f"imported from {source.name}, sha256 {digest}"}
    save_weights(out, net, metadata if "format" in metadata else card)
    return read_info(out)


def _resolve(name_or_path: str | Path) -> Path:
    """Return the file of a name, after verifying its hash, or the path itself; raise WeightsError if it is missing."""
    entries = {entry.name: entry for entry in list_weights()}
    entry = entries.get(name_or_path) if isinstance(name_or_path, str) else None
    path = entry.path if entry else Path(name_or_path)
    fetch = f"streamseg weights download {entry.name}" if entry and entry.url else ""
    if fetch and not path.is_file():
        raise WeightsError(f"{name_or_path} is not downloaded yet; to fetch it: {fetch}")
    if not path.is_file():
        names = ", ".join(entry.name for entry in entries.values() if entry.is_there)
        raise WeightsError(f"no weights at {path}: give an existing file or one of the names {names}")
    if entry and (digest := sha256_of(path)) != entry.sha256:
        cure = fetch or "reinstall streamseg"
        raise WeightsError(f"{path} is damaged: sha256 {digest}, expected {entry.sha256}; to put it right: {cure}")
    return path


def digest_of(name_or_path: str | Path) -> str:
    """Return the sha256 of weights in hexadecimal; raise WeightsError if they are missing or damaged."""
    return sha256_of(_resolve(name_or_path))


def sha256_of(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> tuple[U2Net, dict[str, str]]:
    """Read a file by its suffix; return its network and metadata."""
    if (reader := _READERS.get(path.suffix.lower())) is None:
        raise WeightsError(f"{path} has an unknown ending; weights end in {', '.join(_READERS)}")
    state, metadata = reader(path)
    return _network(path, state, metadata), metadata


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or a damaged one: {error}") from error
    return state, metadata if metadata.get("format") == FORMAT else {}


def _read_torch(path: Path) -> tuple[State, dict[str, str]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise anything: KeyError for a text file, EOFError for an empty one
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(f"{path} is refused: it would run {code[1]}; only state dicts are loaded") from error
        raise WeightsError(f"{path} is not a PyTorch checkpoint, or a damaged one") from error
    named = state.get("architecture") if isinstance(state, dict) else None
    for wrapper in ("ema", "model", "state_dict"):  # the averaged weights, where a run keeps them
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} holds no state dict, neither bare nor under model or state_dict")
    tensors = {str(key).removeprefix("module."): tensor for key, tensor in state.items()}
    return tensors, {"architecture": named} if isinstance(named, str) else {}


_READERS = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch, ".onnx": read_onnx}


def _network(path: Path, state: State, metadata: Mapping[str, str]) -> U2Net:
    """Build the network that the tensors fit, in evaluation mode."""
    official = not any(key.startswith("body.") for key in state)
    net = _meta_network(state, official, metadata)
    names = official_names() if official else {key: key for key in net.state_dict()}
    # Files from before PyTorch 0.4.1 lack the batch norms' counters, which evaluation does not use.
    state = {key: torch.tensor(0) for key in names if key.endswith(".num_batches_tracked")} | state
    if state.keys() != names.keys():
        missing, extra = ([key for key in one if key not in other] for one, other in ((names, state), (state, names)))
        raise WeightsError(
            f"{path} is not U²-Net {net.config.name}: missing tensors: {_few(missing)}; extra tensors: {_few(extra)}"
        )
    if mismatches := _shape_mismatches(state, names, net):
        raise WeightsError(f"{path} does not fit the {net.config.name} network; shapes: {_few(mismatches)}")
    net = net.to_empty(device="cpu")
    net.load_state_dict(convert_state(state, names) if official else state)
    return net.eval()


def _meta_network(state: State, official: bool, metadata: Mapping[str, str]) -> U2Net:
    """Build, on the meta device, the network that the metadata names, or that shares most shapes with the tensors."""
    fuse = state.get("outconv.weight" if official else "fuse.weight", torch.empty(1))
    out_channels = max((1, *fuse.shape[:1]))
    names = (
        (metadata["architecture"],) if metadata.get("architecture") in CONFIGS else OFFICIAL if official else CONFIGS
    )
    with torch.device("meta"):
        nets = [U2Net(CONFIGS[name], out_channels) for name in names]
    if len(nets) == 1:
        return nets[0]
    official_by_own = {own: key for key, own in official_names().items()} if official else {}

    def shared_shapes(net: U2Net) -> int:
        own = net.state_dict().items()
        return sum(
            state.get(official_by_own.get(key, key), torch.empty(0)).shape == tensor.shape for key, tensor in own
        )

    return max(nets, key=shared_shapes)


def _shape_mismatches(state: State, names: Mapping[str, str], net: U2Net) -> list[str]:
    """List tensors whose shape is not the network's."""
    wanted = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    pairs = [(key, tuple(state[key].shape), wanted[own]) for key, own in names.items()]
    return [f"{key} is {got}, not {want}" for key, got, want in pairs if got != want]


def _few(items: Sequence[str], shown: int = 3) -> str:
    """Count the items and list the first few, for an error message."""
    listed = ", ".join(items[:shown]) + ", ..." * (len(items) > shown)
    return f"{len(items)} ({listed})" if items else "none"
