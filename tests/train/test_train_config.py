from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamseg.errors import ConfigError
from train.config import Config, load_config, load_run_config

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_the_published_recipe(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, 'name = "x"'))
    assert (config.augment.squash, config.augment.antialias) == (True, False)
    assert [(phase.resize_px, phase.crop_px) for phase in config.augment.phases] == [(320, 288)]
    optim = config.optim
    assert (optim.learning_rate, optim.weight_decay, optim.batch_size) == (1e-3, 1e-4, 16)
    assert (optim.epochs, optim.warmup_epochs) == (360, 2)
    assert (config.evaluate.every_epochs, config.evaluate.size_px, config.evaluate.squash) == (10, 320, True)


@pytest.mark.parametrize("architecture", ["lite", "full"])
def test_the_recipes_in_configs_restate_those_defaults(architecture: str) -> None:
    config = load_config(CONFIGS / f"train_{architecture}.toml")
    assert config.model.architecture == architecture
    assert config.optim.amp == "fp16"
    published = Config(name="x")
    assert config.augment == published.augment
    assert config.evaluate == published.evaluate
    assert config.optim == published.optim.model_copy(update={"amp": "fp16"})


def test_the_paper_recipe_is_the_papers() -> None:
    config = load_config(CONFIGS / "train_paper.toml")
    optim = config.optim
    assert (optim.optimizer, optim.schedule, optim.learning_rate, optim.weight_decay) == ("adam", "constant", 1e-3, 0)
    assert (optim.batch_size, optim.ema, optim.accumulate) == (12, 0, 1)
    assert round(optim.epochs * (10_553 // 12), -4) == 600_000
    assert config.augment == Config(name="x").augment.model_copy(update={"horizontal_flip": 0.0, "vertical_flip": 0.5})
    assert config.loss == Config(name="x").loss


def test_the_person_recipe_goes_gently_from_the_authors_weights() -> None:
    config = load_config(CONFIGS / "train_person.toml")
    assert (config.model.start_from, config.optim.frozen_statistics) == ("u2netp", True)
    assert config.optim.learning_rate <= 1e-4
    assert config.data.empty and config.data.webcam_share > 0 and config.loss.haze_weight > 0


def test_the_nano_recipe_sees_empty_rooms_and_webcam_frames() -> None:
    config = load_config(CONFIGS / "train_nano.toml")
    assert config.model.architecture == "nano"
    assert set(config.data.empty) == {"empty_rooms.tar"}
    assert config.data.empty_held_out == 10
    assert config.data.webcam_share > 0 and config.augment.wide_share > 0 and config.loss.haze_weight > 0


def test_overrides_are_toml_or_plain_text(tmp_path: Path) -> None:
    changes = ["optim.epochs=2.5", "data.root=/some/where", 'data.train=["a", "b"]', "name=plain words", "seed=3"]
    config = load_config(write(tmp_path, 'name = "x"'), changes)
    assert config.optim.epochs == 2.5
    assert config.data.root == Path("/some/where")
    assert config.data.train == ("a", "b")
    assert (config.name, config.seed) == ("plain words", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.lr=1", "optim.lr: Extra inputs are not permitted"),
        ("optim.epochs=0", "optim.epochs: Input should be greater than 0 (got 0)"),
        ("optim.epochs=inf", "optim.epochs: Input should be a finite number"),
        ("optim.accumulate=3", "accumulate must divide batch_size (16)"),
        ("optim.ema=1", "optim.ema: Input should be less than 1"),
        ("augment.blur=2", "augment.blur: Input should be less than or equal to 1"),
        ("optim.epochs=1", "warmup_epochs must not exceed epochs (1)"),
        ("evaluate.size_px=63", "evaluate.size_px: Input should be greater than or equal to 64"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("augment.scale=[2, 1]", "0 < low <= high"),
        ("augment.phases=[{until = 0.5}, {until = 0.5}]", "each phase must end later"),
        ("augment.phases=[]", "augment.phases"),
        ("data.webcam_share=0.1", "webcam_share needs people (sources with masks) and empty (rooms to set them in)"),
        ("model.architecture=huge", "'nano', 'lite' or 'full'"),
        ("optim", "not of the form section.key=value"),
        ("name.x=1", "'name' is not a section"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(write(tmp_path, 'name = "x"'), [change])
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", write(tmp_path, "name = ")):
        with pytest.raises(ConfigError, match=path.name):
            load_config(path)
    with pytest.raises(ConfigError, match="beside its checkpoints"):
        load_run_config(tmp_path)
