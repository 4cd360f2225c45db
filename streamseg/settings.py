"""Every setting of the pipeline, its default and what it means, once.

Command-line flags, TOML keys and Python arguments share these names. A TOML file has one table a section:

    [infer]
    input_size = 256
    [smooth]
    smooth = "ema"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.frames import Kind


AUTO = "auto"


class Section(BaseModel):
    """A frozen table that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InferSettings(Section):
    """The network and what it sees."""

    model: str = AUTO
    """Packaged weights (`streamseg weights list`), a weights file, an ONNX graph from elsewhere, which a TOML file
    beside it may describe (see `foreign.py`), or `auto`: `lite` for files and photos, and for live sources the best
    that has a matte of its own for every frame on this machine, which is measured at the start."""
    engine: str = "auto"
    """What runs the network: `openvino`, `onnx`, `torch`, `torch-compile` (PyTorch after a minute of compilation), or
    what `register_engine` added; auto takes PyTorch on a GPU, else OpenVINO, else ONNX Runtime, else PyTorch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto is the GPU where PyTorch finds one."""
    precision: Literal["auto", "int8", "fp32"] = "auto"
    """Of packaged weights; auto takes int8 where the processor has instructions for it (VNNI) and OpenVINO runs."""
    input_size: int = Field(320, ge=64, le=2048)
    """Long side of the network's input in pixels; tall frames get up to 1.3 times as much. Networks that
    take one size only have their own."""
    batch_size: int = Field(1, ge=1, le=64)
    """Frames in one call of the network; live sources always use 1."""
    stride: int = Field(1, ge=1, le=30)
    """The network runs on every so many frames, and mattes move with the picture between them. For live sources, whose
    every frame has to leave in time, it runs whenever it is free instead."""


class SmoothSettings(Section):
    """How mattes are steadied in time."""

    smooth: Literal["one-euro", "ema", "none"] = "one-euro"
    """Temporal filter; every filter starts afresh at a scene cut."""
    ema_seconds: float = Field(0.05, gt=0)
    """Time constant of `ema`."""
    min_cutoff_hz: float = Field(2.0, gt=0)
    """Cut-off of `one-euro` where the matte stands still."""
    beta: float = Field(6.0, ge=0)
    """How fast `one-euro` opens up with the speed of the matte."""


class CompositeSettings(Section):
    """What stands behind the person."""

    bg: str | None = None
    """A picture, a video, a colour (name or #rrggbb), `blur`, or none for a transparent cut-out."""
    fit: Literal["cover", "contain"] = "cover"
    """Fill the frame and cut what stands over, or show all of the background between bars."""
    matte_only: bool = False
    """Write the grey matte instead of a picture."""

    @property
    def kind(self) -> Kind:
        """What the finished pictures are."""
        return "matte" if self.matte_only else "composite" if self.bg else "foreground"


class OutputSettings(Section):
    """How finished pictures are stored in a file."""

    alpha: Literal["embedded", "stacked", "sidecar"] = "embedded"
    """Where a cut-out's alpha goes: into the file's own alpha channel, below the colours in pictures of twice the
    height (for players that know no alpha), or into a second file, x.alpha.mp4 (a luma matte)."""
    quality: Literal["standard", "high"] = "standard"
    """`high` takes more time and space; lossless formats are the same at both."""
    straight: bool = False
    """Straight alpha in OpenEXR, whose standard says premultiplied; every other format's alpha is straight anyway."""


class Settings(Section):
    """All sections."""

    infer: InferSettings = InferSettings()
    smooth: SmoothSettings = SmoothSettings()
    composite: CompositeSettings = CompositeSettings()
    output: OutputSettings = OutputSettings()


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Reads a TOML file, if one is given, and lays `overrides` over it.

    Args:
        path: a TOML file with one table a section.
        overrides: setting name to value, without the section; None means not given.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    values = _read_toml(path) if path else {}
    sections = _sections()
    for name, value in values.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} = {value!r} stands outside a table; {_place(name)}")
    for name, value in (overrides or {}).items():
        if name not in sections:
            raise ConfigError(f"unknown setting {name!r}; known are {', '.join(sections)}")
        if value is not None:
            values.setdefault(sections[name], {})[name] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, path)) from error


def setting_names() -> frozenset[str]:
    """The names of all settings, of whatever section."""
    return frozenset(_sections())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error


def _sections() -> dict[str, str]:
    """Name of each setting -> name of its section."""
    sections: dict[str, str] = {}
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            sections |= dict.fromkeys(field.annotation.model_fields, section)
    return sections


def _place(name: str) -> str:
    """Where a setting belongs, or what there is, for messages."""
    sections = _sections()
    return f"it belongs under [{sections[name]}]" if name in sections else f"known are {', '.join(sections)}"


def _first_problem(error: ValidationError, path: Path | None) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    source = f"{path}: " if path else ""
    if problem["type"] == "extra_forbidden":
        return f"{source}unknown setting {where}; {_place(str(problem['loc'][-1]))}"
    return f"{source}{where}: {problem['msg']} (got {problem['input']!r})"
