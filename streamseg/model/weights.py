"""Network weights: name or file -> `U2Net`; safetensors with metadata; import of the official checkpoints.

The weights known by name, their hashes and where to download them are data: see `files/models.toml`.
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
from streamseg.model.official import State, official_names, own_state, read_onnx
from streamseg.model.quantized import QuantizedNet, is_quantized
from streamseg.model.u2net import CONFIGS, Architecture, U2Net

OFFICIAL: tuple[Architecture, ...] = ("lite", "full")
"""The architectures of the official checkpoints."""

FORMAT = "streamseg-1"
"""Value of the metadata key `format` in the files that `save_weights` writes."""

Model = U2Net | QuantizedNet | ForeignNet
"""What an engine runs."""

MODELS = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One row of `models.toml`; with a `url`, the file of `size_bytes` is not packaged but downloaded on request."""

    name: str
    licence: str
    description: str
    file: str
    sha256: str
    url: str = ""
    size_bytes: int = 0

    @property
    def path(self) -> Path:
        """Where the file is, or would be once it is downloaded."""
        return downloads_folder() / self.file if self.url else MODELS / self.file

    @property
    def is_there(self) -> bool:
        """Whether the weights can be loaded now."""
        return self.path.is_file()


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """A weights file: `parameters` leaves out the batch norms' statistics; `metadata` is empty for foreign files."""

    name: str
    path: Path
    architecture: Architecture
    out_channels: int
    parameters: int
    size_bytes: int
    metadata: Mapping[str, str]


def list_weights() -> list[RegistryEntry]:
    """The weights known by name, packaged or not."""
    return [RegistryEntry(**row) for row in _registry()["weights"]]


def downloads_folder() -> Path:
    """Where `streamseg.model.download` keeps what it fetched: in the user's folder for data."""
    return user_data_path("streamseg", appauthor=False) / "weights"


def _registry() -> dict[str, Any]:
    return tomllib.loads((MODELS / "models.toml").read_text(encoding="utf-8"))


def _known_card(digest: str) -> dict[str, str]:
    """The model card of a file that carries none, such as the authors' own, known by its sha256."""
    found = [card for card in _registry().get("cards", []) if card["of"] == digest]
    return {key: value for card in found for key, value in card.items() if key != "of"}


def load_weights(name_or_path: str | Path) -> U2Net:
    """Loads a network in evaluation mode, on the CPU, in float32.

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
    """What an engine runs: a network from its weights, an int8 one, named *.int8.onnx, or any other ONNX graph.

    Raises:
        WeightsError: as `load_weights` and `read_foreign`; a damaged int8 network is found when an engine opens it.
    """
    path = _resolve(name_or_path)
    if is_quantized(path):
        return QuantizedNet(path)
    return _from_onnx(path) if path.suffix.lower() == ".onnx" else _load(path)[0]


def _from_onnx(path: Path) -> U2Net | ForeignNet:
    """The official U²-Net in our own form, if the file is that and can be read; else, or if described, as it is."""
    if not description_path(path).exists():
        with suppress(WeightsError):
            return _load(path)[0]
    return read_foreign(path)


def read_info(name_or_path: str | Path) -> WeightsInfo:
    """Reads and checks weights as `load_weights` does and describes them; raises the same errors."""
    path = _resolve(name_or_path)
    metadata = QuantizedNet(path).metadata() if is_quantized(path) else _card(path)
    own = ("format", "name", "architecture", "out_channels", "parameters")
    return WeightsInfo(
        name=metadata.get("name", path.stem),
        path=path,
        architecture=CONFIGS[metadata["architecture"]].name,
        out_channels=int(metadata["out_channels"]),
        parameters=int(metadata["parameters"]),
        size_bytes=path.stat().st_size,
        metadata={key: value for key, value in metadata.items() if key not in own},
    )


def _card(path: Path) -> dict[str, str]:
    """A file's metadata, or what is known of a file without, and what its network says of itself."""
    net, metadata = _load(path)
    return (metadata or _known_card(sha256_of(path))) | net_facts(net)


def net_facts(net: U2Net) -> dict[str, str]:
    """What every model card says of the network itself; `parameters` leaves out the batch norms' statistics."""
    parameters = sum(parameter.numel() for parameter in net.parameters())
    config = net.config
    return {
        "architecture": config.name,
        "out_channels": str(config.out_channels),
        "parameters": str(parameters),
    }


def save_weights(path: Path, net: U2Net, metadata: Mapping[str, str]) -> None:
    """Writes a network to a .safetensors file in one move.

    Args:
        path: the file; an existing one is replaced.
        net: any device, dtype and memory format.
        metadata: training_data, recipe, metrics, licence, and name where it is not the file's.

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
    """Converts a checkpoint (the official U²-Net's, its folded ONNX export, or `train`'s) to .safetensors.

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
    """The existing file: one known by name, its hash verified, or the path itself."""
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


def sha256_of(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> tuple[U2Net, dict[str, str]]:
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
    """The network that the tensors fit, in evaluation mode."""
    official = not any(key.startswith("body.") for key in state)
    net = _without_memory(state, official, metadata)
    names = official_names() if official else {key: key for key in net.state_dict()}
    # Files from before PyTorch 0.4.1 lack the batch norms' counters, which evaluation does not use.
    state = {key: torch.tensor(0) for key in names if key.endswith(".num_batches_tracked")} | state
    if state.keys() != names.keys():
        missing, extra = ([key for key in one if key not in other] for one, other in ((names, state), (state, names)))
        raise WeightsError(
            f"{path} is not U²-Net {net.config.name}: missing tensors: {_few(missing)}; extra tensors: {_few(extra)}"
        )
    if misfits := _misfits(state, names, net):
        raise WeightsError(f"{path} does not fit the {net.config.name} network; shapes: {_few(misfits)}")
    net = net.to_empty(device="cpu")
    net.load_state_dict(own_state(state, names) if official else state)
    return net.eval()


def _without_memory(state: State, official: bool, metadata: Mapping[str, str]) -> U2Net:
    """The network that the metadata names; without it, the one that shares most of its shapes with the tensors."""
    fuse = state.get("outconv.weight" if official else "fuse.weight", torch.empty(1))
    out_channels = max((1, *fuse.shape[:1]))
    names = (
        (metadata["architecture"],) if metadata.get("architecture") in CONFIGS else OFFICIAL if official else CONFIGS
    )
    with torch.device("meta"):
        nets = [U2Net(CONFIGS[name], out_channels) for name in names]
    if len(nets) == 1:
        return nets[0]
    theirs = {own: key for key, own in official_names().items()} if official else {}

    def shared(net: U2Net) -> int:
        tensors = net.state_dict().items()
        return sum(state.get(theirs.get(key, key), torch.empty(0)).shape == tensor.shape for key, tensor in tensors)

    return max(nets, key=shared)


def _misfits(state: State, names: Mapping[str, str], net: U2Net) -> list[str]:
    wanted = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    pairs = [(key, tuple(state[key].shape), wanted[own]) for key, own in names.items()]
    return [f"{key} is {got}, not {want}" for key, got, want in pairs if got != want]


def _few(items: Sequence[str], shown: int = 3) -> str:
    listed = ", ".join(items[:shown]) + ", ..." * (len(items) > shown)
    return f"{len(items)} ({listed})" if items else "none"
