"""The training configuration: every field is documented where it is defined."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamseg.errors import ConfigError
from streamseg.infer.letterbox import LEAST_SIDE_PX
from streamseg.model.u2net import Architecture

CONFIG_FILE = "config.json"
"""Where a run folder keeps the configuration that it was started with."""


class Section(BaseModel):
    """A frozen section that refuses unknown keys and infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Model(Section):
    """What is trained."""

    architecture: Architecture = "lite"
    """U²-Net's size; see `streamseg.model.u2net`."""
    start_from: str | None = None
    """Packaged weights or a weights file to train on from, instead of random ones; a run that resumes ignores it.
    Weights without batch norms, as exports have them, get theirs back; see `train.norms`."""


class Data(Section):
    """Where the images and masks are."""

    root: Path = Path("data")
    """Folder under which the sources below are looked up."""
    train: tuple[str, ...] = ()
    """Tar shards or folders (glob patterns allowed); one that is named twice is drawn twice as often."""
    validate_on: tuple[str, ...] = ()
    """Sources to choose checkpoints by."""
    workers: int = Field(default=1, ge=0)
    """Processes that decode and augment; 0 does it in the training process."""
    cache: Path | None = None
    """Folder that keeps the decoded pictures, so that each is decoded once; shared by workers, ranks and runs."""
    cache_px: int = Field(default=512, ge=32)
    """Short side that larger pictures are reduced to on their way into the cache or onto the GPU."""
    on_gpu: bool = False
    """Hold the training set as uint8 on the GPU and augment it there, so that no CPU core is waited for."""
    composites: str | None = None
    """Shard or folder of `cutouts_rgba/` and `backgrounds/` for synthetic pairs with exact alpha."""
    composite_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the samples that are such composites; cut-outs also land on training images at random places."""
    empty: tuple[str, ...] = ()
    """Shards or folders of images with nobody in them, rooms above all: masks are not asked for, alpha is 0."""
    empty_held_out: int = Field(default=0, ge=0)
    """Every so many of each of these, by name and from the first on, are left for evaluation; 0 leaves none."""
    people: tuple[str, ...] = ()
    """Sources whose foreground is cut out and set before the empty images, framed as by a webcam."""
    webcam_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the samples that are such frames; see `train.webcam`."""

    @model_validator(mode="after")
    def _webcam_frames_have_both_halves(self) -> Self:
        if self.webcam_share and not (self.people and self.empty):
            raise ValueError("webcam_share needs people (sources with masks) and empty (rooms to set them in)")
        return self


class Phase(Section):
    """A part of the run at one crop size; early phases at small sizes see more images in the same time."""

    until: float = Field(default=1.0, gt=0, le=1)
    """Share of the run's steps at which the phase ends."""
    resize_px: int = Field(default=320, ge=32)
    """Size that images are resized to before the crop: both sides if squashed, else the short side."""
    crop_px: int = Field(default=288, ge=32)
    """Side of the square crop; see `Augment.wide_share` for others."""


class Augment(Section):
    """How an image and its mask become a training pair."""

    squash: bool = True
    """Resize to a square, as U²-Net's authors do; otherwise images keep their proportions."""
    antialias: bool = False
    """Average over the source pixels when shrinking; the published recipes do not."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the random factor on `resize_px`; below the crop's size the picture's edges are mirrored."""
    stretch: float = Field(default=0.0, ge=0, lt=1)
    """Random change of the proportions; 0.2 makes width over height up to 1.2 times as large, or as small."""
    horizontal_flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of mirroring left and right."""
    vertical_flip: float = Field(default=0.0, ge=0, le=1)
    """Probability of turning upside down."""
    photometric: float = Field(default=0.0, ge=0, le=1)
    """Strength of random brightness, contrast and colour changes."""
    blur: float = Field(default=0.0, ge=0, le=1)
    """Probability of defocus or motion blur of the image."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Probability of sensor noise."""
    jpeg: float = Field(default=0.0, ge=0, le=1)
    """Probability of JPEG compression at a random quality."""
    low_light: float = Field(default=0.0, ge=0, le=1)
    """Probability of a dim room: dark, tinted and noisy."""
    wide_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps whose crops are about 16:9, as a webcam's frames, instead of square; their area stays."""
    phases: tuple[Phase, ...] = Field(default=(Phase(),), min_length=1)
    """Crop sizes in the order of the run; the last one also covers what is left of it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale must be (low, high) with 0 < low <= high")
        ends = [phase.until for phase in self.phases]
        if ends != sorted(set(ends)):
            raise ValueError("each phase must end later (until) than the one before it")
        return self


class Loss(Section):
    """What is minimised: binary cross entropy on the fused and the six side maps, and optional terms beside it."""

    edge_weight: float = Field(default=0.0, ge=0)
    """Extra weight of pixels near the alpha's edges; see `train.loss.edge_weights`."""
    haze_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean alpha far from the foreground, where cross entropy hardly minds a little."""
    l1_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean absolute error of the fused alpha, which wants soft edges exact."""


class Optim(Section):
    """The optimiser, its learning rate over time and the arithmetic."""

    optimizer: Literal["adam", "adamw", "muon"] = "adamw"
    """`adamw` decouples the weight decay (the published code), `adam` is the paper's; `muon` learns more from few
    images (see `train.muon`) and takes about five times `adamw`'s learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: a cosine to zero, or the peak rate to the end (the paper)."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Decay of the weights."""
    batch_size: int = Field(default=16, ge=1)
    """Images in a step, over all processes."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that each process cuts its share of a step into, where memory is short."""
    epochs: float = Field(default=360, gt=0)
    """Passes over the training set; fractions are allowed."""
    warmup_epochs: float = Field(default=2, ge=0)
    """Passes over which the learning rate rises from zero."""
    amp: Literal["off", "fp16", "bf16"] = "off"
    """Mixed precision; fp16 adds a gradient scaler. A CPU trains in full precision instead of fp16, and of bf16
    where it has no AVX-512."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the averaged weights that are judged and exported; 0 keeps no average."""
    frozen_statistics: bool = False
    """Keep the batch norms' statistics as they came with `model.start_from`, for careful training on."""
    compile: bool = False
    """Compile the network with torch.compile; worth its minutes in long runs on a GPU."""

    @model_validator(mode="after")
    def _cuts_evenly(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide batch_size ({self.batch_size})")
        return self

    @model_validator(mode="after")
    def _warms_up_within_the_run(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs must not exceed epochs ({self.epochs:g})")
        return self


class Evaluate(Section):
    """How often and how a checkpoint is judged."""

    every_epochs: float = Field(default=10, gt=0)
    """Passes between two evaluations."""
    size_px: int = Field(default=320, ge=LEAST_SIDE_PX)
    """Side of the network's input: of the square if squashed, else the long side."""
    squash: bool = True
    """Squash to a square as the published protocol does, or keep the proportions as streamseg does."""


class Config(Section):
    """One training run."""

    name: str
    """Shown in the log and written into the exported weights."""
    seed: int = Field(default=0, ge=0)
    """Seeds the initial weights, the order of the images and the augmentation."""
    model: Model = Model()
    data: Data = Data()
    augment: Augment = Augment()
    loss: Loss = Loss()
    optim: Optim = Optim()
    evaluate: Evaluate = Evaluate()


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Reads a TOML file and applies `section.key=value` overrides (values in TOML, or plain text).

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the training configuration {path}: {error}") from error
    for override in overrides or []:
        _apply(values, override)
    return _validated(values, path)


def load_run_config(run: Path) -> Config:
    """Reads the configuration that a run folder keeps.

    Raises:
        ConfigError: it is missing, damaged or from another version of the trainer.
    """
    path = run / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}, which a run folder keeps beside its checkpoints: {error}") from error
    return _validated(values, path)


def parse_settings(given: list[str]) -> dict[str, Any]:
    """Read `name=value`, the values in TOML or plain text.

    Raises:
        ConfigError: one is not of that form.
    """
    if wrong := [each for each in given if "=" not in each]:
        raise ConfigError(f"setting {wrong[0]!r} is not of the form name=value, such as smooth=ema")
    return {name: _value(text) for name, _, text in (each.partition("=") for each in given)}


def _validated(values: object, path: Path) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']} (got {first['input']!r})") from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *sections, field = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override {override!r}: {section!r} is not a section")
    values[field] = _value(text)


def _value(text: str) -> Any:
    """Reads a value in TOML, or as plain text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
