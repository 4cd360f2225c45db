from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamseg.errors import OutputError
from streamseg.infer.engines import open_engine
from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import load_weights, save_weights
from tests.train.conftest import write_pair
from tests.train.test_train_cli import exit_code, the_error
from train.config import Config
from train.data import find_pairs, pairs_at
from train.evaluate import predict
from train.loop import Trainer
from train.schedule import Key
from train.teach import Picture, find_pictures, teach

MakeConfig = Callable[..., Config]


@pytest.fixture
def weights(root: Path) -> Path:
    torch.manual_seed(3)
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    return root / "w.safetensors"


def constant(level: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A network that gives one alpha, in 255ths."""
    return lambda frames: torch.full((1, 1, *frames.shape[-2:]), level / 255)


def test_a_taught_shard_holds_the_images_as_they_were_and_the_teachers_alpha(root: Path, weights: Path) -> None:
    out = root / "soft.tar"
    assert exit_code("teach", "--weights", weights, "--data", root / "set.tar", "-o", out, "--size", 64) == 0
    engine = open_engine("auto", load_weights(weights))
    assert [pair.stem for pair in pairs_at(out)] == [pair.stem for pair in pairs_at(root / "set")]
    for ours, theirs in zip(pairs_at(out), pairs_at(root / "set"), strict=True):
        assert ours.image.read() == theirs.image.read()
        image, mask = ours.load()
        alpha = predict(engine.alpha, image, 64, squash=False, device=torch.device("cpu"))
        np.testing.assert_allclose(mask, alpha * 255, atol=0.51)
    assert not out.with_name("soft.tar.part").exists()


def test_a_taught_shard_is_a_source_whose_greys_reach_the_loss(root: Path, small: MakeConfig) -> None:
    teach(constant(100), find_pictures([root / "set"]), 64, root / "soft.tar")
    config = small(epochs=0.5)
    taught = config.model_copy(update={"data": config.data.model_copy(update={"train": ("soft.tar",)})})
    trainer = Trainer(taught, root / "run", torch.device("cpu"))
    _, alpha = trainer.data[Key(0, 0, 0.0)]
    assert torch.allclose(alpha, torch.tensor(100 / 255))


def test_several_sources_without_masks_are_taken(root: Path, weights: Path) -> None:
    shutil.rmtree(root / "set" / "masks")
    (root / "photos").mkdir()
    picture = cv2.imread(str(root / "set" / "images" / "shape0.png"))
    cv2.imwrite(str(root / "photos" / "Ünter.JPG"), picture)
    sources = ("--data", root / "set", "--data", root / "photos")
    assert exit_code("teach", "--weights", weights, *sources, "-o", root / "soft.tar", "--size", 64) == 0
    stems = [pair.stem for pair in find_pairs(root, ("soft.tar",))]
    assert stems == sorted([*(f"shape{n}" for n in range(8)), "Ünter"])


def test_hard_links_in_a_shard_keep_their_own_names(root: Path) -> None:
    with tarfile.open(root / "linked.tar", "w") as shard:
        shard.add(root / "set" / "images" / "shape0.png", arcname="images/a.png")
        link = tarfile.TarInfo("images/b.png")
        link.type, link.linkname = tarfile.LNKTYPE, "images/a.png"
        shard.addfile(link)
    teach(constant(100), find_pictures([root / "linked.tar"]), 64, root / "soft.tar")
    first, second = pairs_at(root / "soft.tar")
    assert (first.stem, second.stem) == ("a", "b")
    assert first.image.read() == second.image.read()


@pytest.mark.parametrize(("level", "kept"), [(0, 0), (0.6, 0), (1.4, 0), (2, 2), (254, 254), (255, 255)])
def test_hardly_any_alpha_is_not_taken_for_labels(root: Path, level: float, kept: int) -> None:
    teach(constant(level), find_pictures([root / "set"])[:1], 64, root / "soft.tar")
    assert np.unique(pairs_at(root / "soft.tar")[0].load()[1]).tolist() == [kept]


def test_what_is_interrupted_leaves_nothing(root: Path) -> None:
    def pictures() -> Iterator[Picture]:
        yield find_pictures([root / "set"])[0]
        assert (root / "soft.tar.part").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(constant(9), pictures(), 64, root / "soft.tar")
    assert not list(root.glob("soft.tar*"))


def test_a_full_disk_leaves_nothing_and_is_said(root: Path) -> None:
    def full(_: torch.Tensor) -> torch.Tensor:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot write .*soft\.tar: No space left on device"):
        teach(full, find_pictures([root / "set"]), 64, root / "soft.tar")
    assert not list(root.glob("soft.tar*"))


def test_teach_errors(root: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*changes: object, out: Path = root / "soft.tar") -> str:
        return the_error(capsys, "teach", "--weights", weights, "-o", out, *changes)

    data = ("--data", root / "set")
    (root / "empty").mkdir()
    assert "holds no images" in error("--data", root / "empty")
    assert "neither a folder nor" in error(*data, "--data", root / "none.tar")
    assert "no/weights" in error(*data, "--weights", "no/weights")
    assert "unknown engine 'abacus'" in error(*data, "--engine", "abacus")
    assert "set.tar exists; remove it or choose another name" in error(*data, out=root / "set.tar")
    assert "must end in .tar" in error(*data, out=root / "soft")
    assert "No such file or directory" in error(*data, out=root / "nowhere" / "soft.tar")
    write_pair(root / "more", "shape3", seed=3)
    told = error(*data, "--data", root / "more")
    assert all(word in told for word in ("shape3 is in", "set/images", "more/images"))
    for index in (1, 5):
        (root / "set" / "images" / f"shape{index}.png").write_bytes(b"damaged")
    told = error(*data)
    assert all(f"shape{index}.png does not decode" in told for index in (1, 5))
    assert not list(root.glob("soft*"))
