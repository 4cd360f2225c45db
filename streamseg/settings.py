"""Settings of the pipeline: names, defaults, allowed values and meaning, defined once for flags, TOML and Python.

Command-line flags, TOML keys and Python arguments share the names. A TOML file has one table a section:

    [infer]
    input_size = 256
    [smooth]
    smooth = "ema"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.frames import Kind


AUTO = "auto"
"""Value of `model` and `camera` that leaves the choice to streamseg."""

MIN_SIZE_PX, MAX_SIZE_PX = 16, 8192


def _parse_size(value: object) -> object:
    """Return (width, height) of WIDTHxHEIGHT; anything else that is no pair of numbers in range is refused."""
    sides = value.lower().split("x") if isinstance(value, str) else value
    if isinstance(sides, list | tuple) and len(sides) == 2 and all(str(side).isdecimal() for side in sides):
        width, height = map(int, sides)
        if all(MIN_SIZE_PX <= side <= MAX_SIZE_PX for side in (width, height)):
            return width, height
    raise ValueError(f"write WIDTHxHEIGHT, such as 1280x720, with sides of {MIN_SIZE_PX} to {MAX_SIZE_PX} px")


Size = Annotated[tuple[int, int], BeforeValidator(_parse_size)]
"""Width and height in pixels; 1280x720 in TOML and flags."""


def _parse_point(value: object) -> object:
    """Return (x, y) of X,Y; anything else that is no pair of fractions is refused."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and len(parts) == 2:
        try:
            x, y = map(float, parts)
        except (TypeError, ValueError):
            x = y = -1.0
        if 0 <= x <= 1 and 0 <= y <= 1:
            return x, y
    raise ValueError("write X,Y as fractions of the frame's width and height from the upper left, such as 0.3,0.5")


Point = Annotated[tuple[float, float], BeforeValidator(_parse_point)]
"""A place in the frame, as fractions of its width and height from the upper left; 0.3,0.5 in TOML and flags."""


def _in_home(path: Path) -> Path:
    """Return a path with the home folder in place of ~, which a shell replaces in flags alone."""
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody: left as it is, as a shell does.
        return path


Folder = Annotated[Path, AfterValidator(_in_home)]
"""A folder's path, which may begin with ~."""


class Section(BaseModel):
    """A frozen table of settings that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InferSettings(Section):
    """Settings of inference: the network, its engine and its input."""

    model: str = AUTO
    """Packaged weights (`streamseg weights list`), a weights file, a third-party ONNX graph, which a TOML file
    beside it may describe (see `foreign.py`), or `auto`: `lite`, for any subject, in files and photos; `nano`, for
    people, before a camera."""
    engine: str = "auto"
    """Runs the network: `openvino`, `onnx`, `torch`, `torch-compile` (PyTorch after a minute of compilation), or an
    engine of `register_engine`; auto takes PyTorch on a GPU, else OpenVINO, else ONNX Runtime, else PyTorch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto is the GPU if PyTorch finds one."""
    precision: Literal["auto", "int8", "fp32"] = "auto"
    """Precision of packaged weights; auto takes int8 if the CPU has int8 instructions (VNNI) and OpenVINO runs."""
    input_size: int = Field(320, ge=64, le=2048)
    """Long side of the network's input in pixels; tall frames get up to 1.3 times as much. Networks of one size keep
    theirs."""
    batch_size: int = Field(1, ge=1, le=64)
    """Frames in one call of the network; live sources always use 1."""
    stride: int = Field(1, ge=1, le=30)
    """Keyframe interval in frames: the network runs on keyframes, and their mattes are warped to the frames between.
    For live sources, whose every frame has to leave in time, it runs whenever it is free instead."""
    refine: bool = False
    """Run the network again on up to four crops a frame along the boundary, for finer mattes of files and photos in
    up to five times the network's time; live sources do without. Not with `stride`, which runs it less often."""

    @model_validator(mode="after")
    def _check_refine(self) -> Self:
        if self.refine and self.stride > 1:
            raise ValueError(f"refine runs the network more often and stride={self.stride} less: choose one of them")
        return self


class SmoothSettings(Section):
    """Settings of what happens to mattes in time: smoothing, and who and what is shown at all."""

    smooth: Literal["motion", "one-euro", "ema", "none"] = "motion"
    """Temporal filter; it restarts at a scene cut. `motion` averages along the optical flow, for files with the next
    frames too; where all work is done on a GPU, `one-euro` takes its place."""
    motion_seconds: float = Field(0.12, gt=0)
    """Time constant of `motion`: in which the weight of what was seen before fades to 1 / e."""
    ema_seconds: float = Field(0.05, gt=0)
    """Time constant of `ema`."""
    min_cutoff_hz: float = Field(2.0, gt=0)
    """Cut-off frequency of `one-euro` where the matte stands still."""
    beta: float = Field(6.0, ge=0)
    """How fast the cut-off frequency of `one-euro` rises with the speed of the matte."""
    gate: bool = True
    """Leave out what the network is sure of nowhere, such as grey ghosts in an empty room. Photos are shown as they
    are, and so is everything where all work is done on a GPU."""
    subject: Literal["all", "largest", "centre"] = "all"
    """Who stays: all, or one that is chosen at the start of a scene and followed: the largest, or the one nearest to
    the centre of the frame."""
    keep: Point | None = None
    """Who or what stays, in place of `subject`: what is nearest to this place at the start of a scene."""

    @property
    def picks(self) -> bool:
        """Whether one subject is to stay."""
        return self.keep is not None or self.subject != "all"


Foreground = Literal["fast", "ml"]
"""Ways to estimate the foreground's own colour in soft edges."""


class CompositeSettings(Section):
    """Settings of compositing: the background and what is written."""

    bg: str | None = None
    """An image, a video, a colour (name or #rrggbb), a gradient from top to bottom (`gradient:#102030,#405060`),
    `blur` (of the room, without the person), or None for a transparent foreground."""
    fit: Literal["cover", "contain"] = "cover"
    """Fill the frame and crop the background, or show all of it between black bars."""
    blur: float = Field(1.0, ge=0.25, le=4)
    """Strength of `bg = "blur"`; its radius grows in proportion."""
    matte_only: bool = False
    """Write the grey matte instead of the composite."""
    bg_sound: float = Field(0.0, ge=0, le=1)
    """Level at which a background video's sound is heard beside the source's, looped with its pictures: 1 is its own,
    0 leaves it out. For video files; what a camera is written to has no sound."""
    foreground: Foreground = "fast"
    """How the foreground's own colour is estimated in soft edges: `fast` (blur fusion), or `ml` (multi-level, finer on
    hair, and a second or more a frame; extra `quality`). `streamseg webcam` always takes `fast`."""
    feather: int = Field(0, ge=0, le=200)
    """Width in pixels over which a hard edge becomes soft, inwards."""
    light_wrap: float = Field(0.0, ge=0, le=1)
    """Strength of the background's light on the foreground's edge; nothing without a background."""
    match_colors: bool = False
    """Move the foreground's colours some way towards the background's; nothing without a background."""
    shadow: bool = False
    """Cast a soft shadow of the foreground on the background; nothing without a background."""

    @property
    def kind(self) -> Kind:
        """What the pixels of finished frames are."""
        return "matte" if self.matte_only else "composite" if self.bg else "foreground"


class OutputSettings(Section):
    """Settings of encoding."""

    alpha: Literal["embedded", "stacked", "sidecar"] = "embedded"
    """Where the foreground's alpha goes: into the file's own alpha channel, below the colours in frames of twice the
    height (for players that know no alpha), or into a second file, x.alpha.mp4 (a luma matte)."""
    quality: Literal["standard", "high"] = "standard"
    """`high` takes more time and space; lossless formats are the same at both."""
    straight: bool = False
    """Straight alpha in OpenEXR, whose standard says premultiplied; every other format's alpha is straight anyway."""


class BatchSettings(Section):
    """Settings of work that several processes share."""

    segment_seconds: float | None = Field(None, ge=0.1, le=3600)
    """Length of the segments that a video is parted into. None takes 20 to 60 s, so that each process has some; a
    second or two about each cut is matted twice."""


class LiveSettings(Section):
    """Settings of `streamseg webcam` alone."""

    camera: str = AUTO
    """A number, a device path, a camera's name or a unique part of one (`streamseg cameras` lists them), an rtsp or
    http address, or a file in its place; `auto` is the first camera."""
    size: Size | None = None
    """Width and height to ask the camera for, in pixels; the nearest that it has, not smaller if possible. None asks
    for 1280x720 where it is to be had at the frame rate."""
    fps: float | None = Field(None, ge=1, le=240)
    """Frame rate to ask the camera for; None asks for 30."""
    mirror: bool = False
    """Mirror the camera's image left to right, as in a looking glass; the background stays as it is."""
    paused: bool = False
    """Show a card instead of the camera, which is closed meanwhile."""
    recording: bool = False
    """Write what is shown to a file as well."""
    backgrounds: Folder | None = None
    """Folder whose images and videos can be chosen as background while the camera runs."""
    outputs: tuple[str, ...] = Field(("window",), min_length=1)
    """Where the image goes, side by side: `window`, `http` (the page), `virtual`, `virtual:NAME`, or files."""
    on_demand: bool = False
    """Open the camera only while some program reads the virtual one."""
    host: str = "127.0.0.1"
    """Name or address that the page is served on; any other than this one can be reached from other machines."""
    port: int = Field(8765, ge=0, le=65535)
    """Port of the page; 0 takes a free one."""


class Settings(Section):
    """All sections of the settings."""

    infer: InferSettings = InferSettings()
    smooth: SmoothSettings = SmoothSettings()
    composite: CompositeSettings = CompositeSettings()
    output: OutputSettings = OutputSettings()
    live: LiveSettings = LiveSettings()
    batch: BatchSettings = BatchSettings()


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read a TOML file, if one is given, and apply `overrides` to it.

    Args:
        path: a TOML file with one table a section.
        overrides: name of a setting, without its section -> value; None counts as not given.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    values = _read_toml(path) if path else {}
    sections = _sections()
    for name, value in values.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} = {value!r} stands outside a table; {_place(name)}")
    given = {name: value for name, value in (overrides or {}).items() if value is not None or name not in sections}
    return _with_values(values, given, path)


def changed_settings(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with other values, by name of the setting without its section.

    Raises:
        ConfigError: a name is unknown or a value not allowed.
    """
    return _with_values(settings.model_dump(), values)


def _with_values(tables: dict[str, dict[str, Any]], values: Mapping[str, Any], path: Path | None = None) -> Settings:
    """Put values into their sections' tables and check all; errors of the tables name the file that they are from."""
    sections = _sections()
    for name, value in values.items():
        if name not in sections:
            raise ConfigError(f"unknown setting {name!r}; known are {', '.join(sections)}")
        tables.setdefault(sections[name], {})[name] = value
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, path)) from error


def setting_names() -> frozenset[str]:
    """Return the names of the settings of all sections."""
    return frozenset(_sections())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error


def _sections() -> dict[str, str]:
    """Map each setting's name to its section's name."""
    sections: dict[str, str] = {}
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            sections |= dict.fromkeys(field.annotation.model_fields, section)
    return sections


def _place(name: str) -> str:
    """Say in an error message which table a setting belongs to, or which settings are known."""
    sections = _sections()
    return f"it belongs under [{sections[name]}]" if name in sections else f"known are {', '.join(sections)}"


def _first_problem(error: ValidationError, path: Path | None) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    source = f"{path}: " if path else ""
    if problem["type"] == "extra_forbidden":
        return f"{source}unknown setting {where}; {_place(str(problem['loc'][-1]))}"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict):  # settings that do not go together, named in the message
        return f"{source}{where}: {message}"
    return f"{source}{where}: {message} (got {problem['input']!r})"
