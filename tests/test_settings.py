"""Settings: defaults, TOML files, overrides, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from streamseg.errors import ConfigError
from streamseg.settings import Settings, load_settings, setting_names

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def toml(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Writes a configuration and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert (settings.infer.input_size, settings.smooth.smooth, settings.composite.bg) == (320, "motion", None)
    assert settings.infer.model == "auto"


def test_a_file_that_begins_with_a_byte_order_mark(toml) -> None:  # type: ignore[no-untyped-def]
    """As Windows' editors write it."""
    assert load_settings(toml("\ufeff[infer]\ninput_size = 256\n")).infer.input_size == 256


def test_a_file_changes_what_it_names_and_nothing_else(toml) -> None:  # type: ignore[no-untyped-def]
    path = toml('[infer]\ninput_size = 256\n[smooth]\nsmooth = "ema"\n[composite]\nbg = "пляж.jpg"\n')
    settings = load_settings(path)
    assert (settings.infer.input_size, settings.infer.batch_size) == (256, 1)
    assert (settings.smooth.smooth, settings.composite.bg) == ("ema", "пляж.jpg")


def test_overrides_win_over_the_file_and_none_means_not_given(toml) -> None:  # type: ignore[no-untyped-def]
    path = toml('[infer]\ninput_size = 256\nengine = "torch"\n')
    settings = load_settings(path, {"input_size": 128, "engine": None, "bg": "green"})
    assert (settings.infer.input_size, settings.infer.engine, settings.composite.bg) == (128, "torch", "green")


def test_false_is_a_value(toml) -> None:  # type: ignore[no-untyped-def]
    path = toml("[composite]\nmatte_only = true\n")
    assert not load_settings(path, {"matte_only": False}).composite.matte_only


def test_every_setting_can_be_overridden_by_its_name() -> None:
    assert setting_names() >= {"model", "engine", "input_size", "batch_size", "smooth", "bg", "fit", "matte_only"}
    names = [name for section in Settings.model_fields for name in type(getattr(Settings(), section)).model_fields]
    assert sorted(names) == sorted(setting_names())  # No name stands in two sections.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[infer]\ninput_size = 32\n", r"infer\.input_size: .*64 .*\(got 32\)"),
        ("[infer]\nbatch_size = 65\n", r"infer\.batch_size: .*64 .*\(got 65\)"),
        ('[infer]\ninput_size = "big"\n', r"infer\.input_size: .*integer.*'big'"),
        ('[infer]\ndevice = "tpu"\n', r"infer\.device: .*'auto', 'cpu' or 'cuda'.*'tpu'"),
        ("[smooth]\nema_seconds = 0\n", r"smooth\.ema_seconds: .*greater than 0"),
        ("[smooth]\nbeta = -1.0\n", r"smooth\.beta"),
        ("[smooth]\nbeta = inf\n", r"smooth\.beta: .*finite"),
        ("[smooth]\nmin_cutoff_hz = nan\n", r"smooth\.min_cutoff_hz: .*finite"),
        ("[smooth]\nema_seconds = inf\n", r"smooth\.ema_seconds: .*finite"),
        ('[composite]\nfit = "time_range"\n', r"composite\.fit: .*'cover' or 'contain'"),
        (
            "[infer]\nsides = 3\n",
            r"unknown setting infer\.sides; known are model, engine, device, precision, input_size",
        ),
        ("[infer]\nbeta = 3\n", r"unknown setting infer\.beta; it belongs under \[smooth\]"),
        ("[encode]\ncrf = 3\n", r"unknown setting encode; known are"),
        ("input_size = 256\n", r"input_size = 256 stands outside a table; it belongs under \[infer\]"),
        ("infer = 256\n", r"infer = 256 stands outside a table"),
        ("[[infer]]\ninput_size = 256\n", r"infer = .* stands outside a table"),
        ("[infer\n", r"cannot read the configuration"),
    ],
)
def test_what_is_refused(toml, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(toml(text), {"fit": None, "model": "full"})
    assert "settings.toml" in str(caught.value)


def test_an_override_that_is_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"^infer\.input_size: .*\(got 1\)"):
        load_settings(overrides={"input_size": 1})


def test_an_unknown_override() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'sides'; known are model, "):
        load_settings(overrides={"sides": 3})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load_settings(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_settings(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[composite]\nbg = "\xe9"\n')
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_settings(tmp_path / "latin.toml")


def test_a_folder_of_backgrounds_may_be_in_the_home_folder(toml, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, "/home/me")
    assert load_settings(toml('[live]\nbackgrounds = "~/Pictures"\n')).live.backgrounds == Path("/home/me/Pictures")
    nobody = load_settings(overrides={"backgrounds": "~nobody-of-this-name/x"})
    assert nobody.live.backgrounds == Path("~nobody-of-this-name/x")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().infer.input_size = 64  # type: ignore[misc]


@pytest.mark.parametrize("name", ["video.toml", "webcam.toml"])
def test_the_configurations_in_the_repository_load(name: str) -> None:
    path = CONFIGS / name
    if not path.exists():
        pytest.skip(f"no {name}")
    assert tomllib.loads(path.read_text(encoding="utf-8"))
    load_settings(path)
