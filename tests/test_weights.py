"""The official naming and network are written out here again, independently of `streamseg.model.weights`."""

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from streamseg.errors import OutputError, WeightsError
from streamseg.model import weights
from streamseg.model.quantized import is_quantized
from streamseg.model.u2net import FULL, LITE, NANO, U2Net, U2NetConfig
from streamseg.model.weights import import_weights, list_weights, load_weights, read_info, save_weights

# Official stages in their order: name, height (0: RSU4F), then (in, mid, out) of u2net.pth.
STAGES = {
    "stage1": (7, 3, 32, 64),
    "stage2": (6, 64, 32, 128),
    "stage3": (5, 128, 64, 256),
    "stage4": (4, 256, 128, 512),
    "stage5": (0, 512, 256, 512),
    "stage6": (0, 512, 256, 512),
    "stage5d": (0, 1024, 256, 512),
    "stage4d": (4, 1024, 128, 256),
    "stage3d": (5, 512, 64, 128),
    "stage2d": (6, 256, 32, 64),
    "stage1d": (7, 128, 16, 64),
}
U2NETP = {
    name: (height, 3 if name == "stage1" else 128 if name.endswith("d") else 64, 16, 64)
    for name, (height, *_) in STAGES.items()
}
SIDES = ["stage1d", "stage2d", "stage3d", "stage4d", "stage5d", "stage6"]

Table = dict[str, tuple[int, int, int, int]]
State = dict[str, Tensor]


@pytest.fixture
def shared() -> Path:
    path = Path(__file__).parents[2] / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the development data in {path}")
    return path


@pytest.fixture(scope="module")
def net() -> U2Net:
    torch.manual_seed(3)
    return U2Net(LITE).eval()


@pytest.fixture(scope="module")
def official() -> State:
    return official_state(U2NETP)


def same(a: U2Net, b: U2Net) -> bool:
    other = b.state_dict()
    return a.config == b.config and all(torch.equal(tensor, other[key]) for key, tensor in a.state_dict().items())


def blocks(table: Table) -> Iterator[tuple[str, int, int]]:
    """Name, input and output channels of every official convolution with batch norm, in execution order."""
    for stage, (height, first, mid, out) in table.items():
        levels = height or 4
        yield f"{stage}.rebnconvin", first, out
        yield f"{stage}.rebnconv1", out, mid
        for level in range(2, levels + 1):
            yield f"{stage}.rebnconv{level}", mid, mid
        for level in range(levels - 1, 0, -1):
            yield f"{stage}.rebnconv{level}d", 2 * mid, out if level == 1 else mid


def official_state(table: Table, out_channels: int = 1) -> State:
    """Random values under the keys of the official checkpoint, with biases before the batch norms."""
    torch.manual_seed(0)
    state: State = {}
    for name, before, after in blocks(table):
        state[f"{name}.conv_s1.weight"] = torch.randn(after, before, 3, 3) / (9 * before) ** 0.5
        state[f"{name}.conv_s1.bias"] = torch.randn(after)
        state[f"{name}.bn_s1.weight"] = torch.rand(after) + 0.8
        state[f"{name}.bn_s1.bias"] = torch.randn(after) * 0.2
        state[f"{name}.bn_s1.running_mean"] = torch.randn(after)
        state[f"{name}.bn_s1.running_var"] = torch.rand(after) + 0.5
        state[f"{name}.bn_s1.num_batches_tracked"] = torch.tensor(7)
    for number, stage in enumerate(SIDES, start=1):
        # Sides differ in scale, so that one in another's place shows.
        state[f"side{number}.weight"] = torch.randn(out_channels, table[stage][3], 3, 3) * 0.02 * number
        state[f"side{number}.bias"] = torch.randn(out_channels)
    state["outconv.weight"] = torch.randn(out_channels, 6 * out_channels, 1, 1)
    state["outconv.bias"] = torch.randn(out_channels)
    return state


def evaluate(state: State, table: Table, x: Tensor) -> list[Tensor]:
    """The official network as plain function calls: the fused logits, then those of side1 to side6."""

    def block(name: str, x: Tensor, dilation: int) -> Tensor:
        conv, bn = f"{name}.conv_s1", f"{name}.bn_s1"
        x = F.conv2d(x, state[f"{conv}.weight"], state[f"{conv}.bias"], padding=dilation, dilation=dilation)
        statistics = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        return F.relu(F.batch_norm(x, *statistics, state[f"{bn}.weight"], state[f"{bn}.bias"], eps=1e-5))

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, stride=2, ceil_mode=True)

    def stage(name: str, x: Tensor) -> Tensor:
        height = table[name][0]
        levels = height or 4
        hxin = block(f"{name}.rebnconvin", x, 1)
        hx = {1: block(f"{name}.rebnconv1", hxin, 1)}
        for level in range(2, levels + 1):
            below = pool(hx[level - 1]) if height and level < levels else hx[level - 1]
            hx[level] = block(f"{name}.rebnconv{level}", below, (level == levels) + 1 if height else 2 ** (level - 1))
        d = hx[levels]
        for level in range(levels - 1, 0, -1):
            d = up(d, hx[level]) if height else d
            d = block(f"{name}.rebnconv{level}d", torch.cat((d, hx[level]), 1), 1 if height else 2 ** (level - 1))
        return d + hxin

    maps = {"stage1": stage("stage1", x)}
    for number in range(2, 7):
        maps[f"stage{number}"] = stage(f"stage{number}", pool(maps[f"stage{number - 1}"]))
    below = maps["stage6"]
    for number in range(5, 0, -1):
        skip = maps[f"stage{number}"]
        below = maps[f"stage{number}d"] = stage(f"stage{number}d", torch.cat((up(below, skip), skip), 1))
    sides = [
        up(F.conv2d(maps[name], state[f"side{number}.weight"], state[f"side{number}.bias"], padding=1), x)
        for number, name in enumerate(SIDES, start=1)
    ]
    return [F.conv2d(torch.cat(sides, 1), state["outconv.weight"], state["outconv.bias"]), *sides]


@torch.no_grad()
def assert_agrees(net: U2Net, state: State, table: Table) -> None:
    torch.manual_seed(1)
    x = torch.randn(1, 3, 64, 72)
    alpha = net(x)
    # Training mode at the top alone: logits come back, and the batch norms below keep their statistics.
    net.training = True
    fused, *sides = net(x)
    expected = evaluate(state, table, x)
    for got, want in zip((fused, *reversed(sides)), expected, strict=True):
        assert (got - want).abs().max() < 1e-4 * want.std()
    assert torch.equal(alpha, torch.sigmoid(fused))


# Round trip


def test_saved_weights_come_back_exactly(tmp_path: Path, net: U2Net) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(path, net, {"training_data": "two photos", "licence": "CC0", "format": "not yours to set"})
    loaded = load_weights(path)
    assert same(loaded, net)
    assert not loaded.training and not any(module.training for module in loaded.modules())
    assert all(parameter.requires_grad for parameter in loaded.parameters()), "so that training can start from it"
    assert list(tmp_path.iterdir()) == [path]


def test_info(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(path, U2Net(LITE, out_channels=2), {"training_data": "two photos", "licence": "CC0"})
    info = read_info(path)
    assert (info.name, info.path, info.architecture, info.out_channels) == ("mine", path, "lite", 2)
    assert info.metadata == {"training_data": "two photos", "licence": "CC0"}
    assert info.size_bytes == path.stat().st_size
    save_weights(path, U2Net(LITE), {"name": "better"})
    assert (read_info(path).name, read_info(path).parameters) == ("better", 1_128_333)


def test_the_architecture_is_what_the_file_says(tmp_path: Path, net: U2Net) -> None:
    path = tmp_path / "n.safetensors"
    save_weights(path, U2Net(NANO), {})
    assert (load_weights(path).config.name, read_info(path).architecture) == ("nano", "nano")
    safetensors.torch.save_file(net.state_dict(), path, {"format": "streamseg-1", "architecture": "nano"})
    with pytest.raises(WeightsError, match="is not U²-Net nano: missing tensors: none; extra tensors"):
        load_weights(path)
    torch.save({"model": net.state_dict(), "architecture": "full"}, tmp_path / "run.pt")
    with pytest.raises(WeightsError, match="does not fit the full network"):
        load_weights(tmp_path / "run.pt")


@pytest.mark.parametrize("config", [NANO, LITE])
def test_a_bare_state_dict_tells_its_architecture_by_its_shapes(tmp_path: Path, config: U2NetConfig) -> None:
    torch.save(U2Net(config).state_dict(), tmp_path / "bare.pth")
    assert load_weights(tmp_path / "bare.pth").config.name == config.name


def test_metadata_is_in_the_files_header(tmp_path: Path, net: U2Net) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(path, net, {"metrics": "MAE .03"})
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {
        "format": "streamseg-1",
        "name": "mine",
        "architecture": "lite",
        "out_channels": "1",
        "metrics": "MAE .03",
    }


def test_half_precision_and_channels_last_are_saved_and_load_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(path, U2Net(LITE).half().to(memory_format=torch.channels_last), {})
    assert {tensor.dtype for tensor in load_weights(path).parameters()} == {torch.float32}


def test_loading_leaves_the_random_state_alone(tmp_path: Path, net: U2Net) -> None:
    save_weights(tmp_path / "mine.safetensors", net, {})
    before = torch.get_rng_state()
    load_weights(tmp_path / "mine.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_safetensors_without_our_metadata_load(tmp_path: Path, net: U2Net, official: State) -> None:
    safetensors.torch.save_file(net.state_dict(), tmp_path / "own.safetensors", {"format": "pt"})
    safetensors.torch.save_file(official, tmp_path / "official.safetensors")
    assert same(load_weights(str(tmp_path / "own.safetensors")), net)
    assert read_info(tmp_path / "own.safetensors").metadata == {}
    assert_agrees(load_weights(tmp_path / "official.safetensors"), official, U2NETP)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="No space left"):
        save_weights(path, net, {})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["missing/x.safetensors", "file/x.safetensors", "folder.safetensors", "x.pth"])
def test_unwritable_output(tmp_path: Path, net: U2Net, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"cannot write .*(directory|must end in \.safetensors)"):
        save_weights(tmp_path / name, net, {})
    assert sorted(tmp_path.iterdir()) == before


# The registry


def test_packaged_weights_load_and_match_their_hash() -> None:
    for entry in list_weights():
        if not entry.url:
            assert entry.path == weights.MODELS / entry.file
            assert hashlib.sha256(entry.path.read_bytes()).hexdigest() == entry.sha256
            assert read_info(entry.name).name == entry.file.partition(".")[0] + "-int8" * is_quantized(entry.path)
            if not is_quantized(entry.path):
                assert same(load_weights(entry.name), load_weights(entry.path))


def test_every_packaged_file_is_registered() -> None:
    files = {path.name for path in weights.MODELS.iterdir()} - {"models.toml"}
    assert {entry.file for entry in list_weights() if not entry.url} == files


def test_full_is_known_but_not_packaged() -> None:
    with pytest.raises(WeightsError, match="full is not downloaded yet; to fetch it: streamseg weights download full"):
        load_weights("full")


@pytest.mark.parametrize("name", ["lite", "lite-int8", "u2netp", "u2netp-int8"])
def test_the_authors_weights_say_whose_they_are(name: str) -> None:
    told = read_info(name).metadata
    notice = (Path(__file__).parents[1] / "NOTICE").read_text(encoding="utf-8")
    assert told["licence"] == "Apache-2.0" and "2020" in told["copyright"]
    for author in told["authors"].split(", "):
        assert author in notice
    assert "DUTS-TR" in told["training_data"] and "plain bilinear" in told["input"]
    assert "github.com/xuebinqin/U-2-Net" in told["source"] and "github.com/xuebinqin/U-2-Net" in notice


def test_a_damaged_packaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(weights.MODELS, tmp_path / "models")
    monkeypatch.setattr(weights, "MODELS", tmp_path / "models")
    with (tmp_path / "models" / "u2netp.safetensors").open("r+b") as file:
        file.seek(-4, io.SEEK_END)
        file.write(b"\0\0\0\1")
    with pytest.raises(WeightsError, match=r"is damaged: sha256 [0-9a-f]{64}, expected"):
        load_weights("lite")
    assert load_weights(tmp_path / "models" / "u2netp.safetensors"), "a path is not held to the registry's hash"


# Import


@pytest.mark.parametrize(
    ("wrapper", "prefix"), [(None, ""), (None, "module."), ("model", "module."), ("state_dict", "")]
)
def test_official_checkpoint_wrappers(tmp_path: Path, official: State, wrapper: str | None, prefix: str) -> None:
    state: dict[str, Any] = {prefix + key: tensor for key, tensor in official.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "u2netp.pth")
    info = import_weights(tmp_path / "u2netp.pth", tmp_path / "lite.safetensors")
    assert (info.name, info.architecture, info.out_channels) == ("lite", "lite", 1)
    assert_agrees(load_weights(tmp_path / "lite.safetensors"), official, U2NETP)


def test_full_official_checkpoint(tmp_path: Path) -> None:
    state = official_state(STAGES)
    torch.save(state, tmp_path / "u2net.pth", _use_new_zipfile_serialization=False)  # as the official files are
    net = load_weights(tmp_path / "u2net.pth")
    assert net.config == FULL
    assert_agrees(net, state, STAGES)


def test_official_checkpoint_with_three_channels(tmp_path: Path) -> None:
    state = official_state(U2NETP, out_channels=3)
    torch.save(state, tmp_path / "three.pth")
    assert read_info(tmp_path / "three.pth").out_channels == 3
    assert_agrees(load_weights(tmp_path / "three.pth"), state, U2NETP)


def test_official_checkpoint_without_batch_counters(tmp_path: Path, official: State) -> None:
    old = {key: tensor for key, tensor in official.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    net = load_weights(tmp_path / "old.pth")
    assert {int(norm.num_batches_tracked) for norm in net.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {0}


def test_import_states_its_source(tmp_path: Path, official: State) -> None:
    torch.save(official, tmp_path / "u2netp.pth")
    digest = hashlib.sha256((tmp_path / "u2netp.pth").read_bytes()).hexdigest()
    metadata = import_weights(tmp_path / "u2netp.pth", tmp_path / "lite.safetensors").metadata
    assert metadata["recipe"] == f"imported from u2netp.pth, sha256 {digest}"
    assert "as the source states" in metadata["licence"]


def test_the_packaged_weights_are_the_authors(tmp_path: Path, shared: Path) -> None:
    info = import_weights(shared / "weights" / "u2netp.onnx", tmp_path / "copy.safetensors")
    assert info.metadata == read_info("u2netp").metadata
    assert same(load_weights(info.path), load_weights("u2netp"))


def test_import_keeps_metadata(tmp_path: Path, net: U2Net) -> None:
    save_weights(tmp_path / "a.safetensors", net, {"licence": "CC0"})
    info = import_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (info.name, info.metadata) == ("a", {"licence": "CC0"})


def test_trainers_checkpoint(tmp_path: Path, net: U2Net) -> None:
    checkpoint = {"model": net.state_dict(), "architecture": "lite", "step": 3, "optimizer": {"state": {}}}
    torch.save(checkpoint, tmp_path / "best.pt")
    import_weights(tmp_path / "best.pt", tmp_path / "mine.safetensors")
    assert same(load_weights(tmp_path / "mine.safetensors"), net)


def test_import_onto_itself(tmp_path: Path, net: U2Net) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(path, net, {})
    with pytest.raises(WeightsError, match="onto itself"):
        import_weights(path, tmp_path / "." / "mine.safetensors")


# ONNX


class Official(torch.nn.Module):
    """What the authors' code exports: the sigmoids of the fused logits and of side1 to side6."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state

    def forward(self, x: Tensor) -> list[Tensor]:
        return [torch.sigmoid(logits) for logits in evaluate(self.state, U2NETP, x)]


def write_onnx(path: Path, net: torch.nn.Module, **settings: Any) -> None:
    """PyTorch folds batch norm into the convolutions, as it did in the official exports."""
    pytest.importorskip("onnx", reason="PyTorch's exporter needs it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 3, 64, 72),), path, dynamo=False, opset_version=11, **settings)


def test_an_official_export_is_read_without_the_package_onnx(
    tmp_path: Path, official: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_onnx(tmp_path / "u2netp.onnx", Official(official))
    monkeypatch.setitem(sys.modules, "onnx", None)  # an extra, which reading does without
    assert_agrees(load_weights(tmp_path / "u2netp.onnx"), official, U2NETP)


def test_onnx_with_batch_norm_is_refused(tmp_path: Path, official: State) -> None:
    write_onnx(tmp_path / "u2netp.onnx", Official(official), training=torch.onnx.TrainingMode.PRESERVE)
    with pytest.raises(WeightsError, match="112 batch norms, not 0"):
        load_weights(tmp_path / "u2netp.onnx")


@pytest.mark.parametrize(
    ("layers", "count"),
    [
        ([torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1)], 2),
        ([torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.Sigmoid()], 0),
        ([torch.nn.ReLU()], 0),
    ],
)
def test_onnx_of_another_network(tmp_path: Path, layers: list[torch.nn.Module], count: int) -> None:
    write_onnx(tmp_path / "other.onnx", torch.nn.Sequential(*layers))
    with pytest.raises(WeightsError, match=f"{count} convolutions with weights and biases, not 119, and 0 batch norms"):
        load_weights(tmp_path / "other.onnx")


def photos(archive: Path, count: int) -> list[Tensor]:
    """The first photos as `(1, 3, 320, 320)`, resized without antialiasing, ImageNet-normalised."""
    cv2, np = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".webp") and (file := tar.extractfile(member)):
                bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
                rgb = torch.from_numpy(cv2.resize(bgr, (320, 320), interpolation=cv2.INTER_LINEAR)[..., ::-1].copy())
                mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
                found.append(((rgb / 255 - mean) / std).permute(2, 0, 1)[None].contiguous())
            if len(found) == count:
                break
    return found


def test_official_onnx_agrees_with_onnxruntime_on_photos(tmp_path: Path, shared: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source = shared / "weights" / "u2netp.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    import_weights(source, tmp_path / "u2netp.safetensors")
    net = load_weights(tmp_path / "u2netp.safetensors")
    errors = []
    for photo in photos(shared / "data" / "persons_val.tar", 2):
        expected = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: photo.numpy()})[0])
        with torch.no_grad():
            errors.append((net(photo) - expected).abs().max().item())
        assert expected.max() > 0.9 and expected.min() < 0.1, "the photo has a subject"
    print(f"largest difference to ONNX Runtime: {max(errors):.1e}")
    assert len(errors) == 2 and max(errors) < 1e-3


# Errors


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/readme.txt", "not a checkpoint")


class Harmful:
    """Runs a command when unpickled without care."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".onnx"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path: path.write_text("hello, I am a text file\n"), id="text"),
        pytest.param(lambda path: path.touch(), id="empty"),
        pytest.param(lambda path: path.write_bytes(bytes(range(256)) * 20), id="binary"),
        pytest.param(write_zip, id="zip"),
    ],
)
def test_not_weights(tmp_path: Path, suffix: str, write: Callable[[Path], None]) -> None:
    path = tmp_path / f"x{suffix}"
    write(path)
    with pytest.raises(WeightsError, match=r"is not (a|an|the) .*(checkpoint|safetensors|ONNX|U²-Net)") as caught:
        load_weights(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_checkpoint(tmp_path: Path, official: State) -> None:
    torch.save(official, tmp_path / "x.pth")
    save_weights(tmp_path / "x.safetensors", U2Net(LITE), {})
    for name in ("x.pth", "x.safetensors"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(WeightsError, match="or a damaged one"):
            load_weights(tmp_path / name)


@pytest.mark.parametrize("source", ["nothing.pth", "lite.pth", "tiny", "."])
def test_missing_file(tmp_path: Path, source: str) -> None:
    with pytest.raises(WeightsError, match=r"no weights at .*one of the names lite, lite-int8, u2netp, "):
        load_weights(tmp_path / source)
    with pytest.raises(WeightsError, match="no weights at"):
        import_weights(tmp_path / source, tmp_path / "out.safetensors")


def test_a_path_is_never_a_packaged_name() -> None:
    with pytest.raises(WeightsError, match="no weights at lite"):
        load_weights(Path("lite"))


def test_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "x.h5").touch()
    with pytest.raises(WeightsError, match=r"unknown ending; weights end in \.safetensors, \.pth, \.pt, \.onnx"):
        load_weights(tmp_path / "x.h5")


def test_unsafe_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": Harmful(f"touch {tmp_path}/harmed")}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"is refused: it would run posix\.system") as caught:
        load_weights(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


def test_pickled_module_is_refused(tmp_path: Path, net: U2Net) -> None:
    torch.save(net, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"would run streamseg\.model\.u2net\.U2Net; only state dicts"):
        load_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"a": 1}}, torch.ones(3)])
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_weights(tmp_path / "x.pth")


def test_another_network(tmp_path: Path) -> None:
    torch.save({f"layer{n}.weight": torch.ones(1) for n in range(5)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "x.pth")
    assert "missing tensors: 686 (stage1.rebnconvin.conv_s1.weight, " in str(caught.value)
    assert "extra tensors: 5 (layer0.weight, layer1.weight, layer2.weight, ...)" in str(caught.value)


def test_missing_and_extra_keys_are_named(tmp_path: Path, net: U2Net) -> None:
    state = net.state_dict()
    del state["sides.2.bias"]
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"missing tensors: 1 \(sides\.2\.bias\); extra tensors: none"):
        load_weights(tmp_path / "x.pt")
    safetensors.torch.save_file({**net.state_dict(), "more": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"missing tensors: none; extra tensors: 1 \(more\)"):
        load_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("shape", [(1, 64, 5, 5), (1, 64), ()])
def test_a_wrong_shape_is_named(tmp_path: Path, official: State, shape: tuple[int, ...]) -> None:
    torch.save({**official, "side2.weight": torch.ones(shape)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"not fit the lite network; shapes: 1 \(side2\.weight is .*, not \(1, 64,"):
        load_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("shape", [(), (0,), (2, 12, 1, 1)])
def test_a_wrong_fusion_is_an_error(tmp_path: Path, official: State, shape: tuple[int, ...]) -> None:
    torch.save({**official, "outconv.weight": torch.ones(shape)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="does not fit the lite network"):
        load_weights(tmp_path / "x.pth")
