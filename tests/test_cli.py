"""The commands as a user types them: what they write, what they say, and one line for every bad input."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from streamseg.cli import app as cli
from streamseg.cli.options import settings_from_flags
from streamseg.model.precision import LIVE_MODEL
from streamseg.settings import Settings, SmoothSettings, setting_names
from tests.conftest import SAMPLES
from tests.synthetic import Clip, DiscEngine, picture, true_alpha, write_clip

BEACH = str(SAMPLES / "beach.jpg")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


@pytest.fixture
def disc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the synthetic disc instead of loading a network."""
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())


def streamseg(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def expect_one_line_error(result: Result, *fragments: str) -> None:
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert all(fragment in lines[0] for fragment in fragments), lines[0]


def video_facts(path: Path) -> tuple[int, Fraction | None, int, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        return count, stream.average_rate, stream.width, stream.height


@pytest.mark.usefixtures("disc")
def test_video_keeps_frames_rate_size_and_sound(clip: Clip, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    result = streamseg("video", clip.path, "-o", out, "--bg", BEACH)
    assert result.exit_code == 0, result.output
    assert video_facts(out) == (24, clip.rate, 128, 96)
    assert f"{out}: 24 frames" in result.stdout
    assert "24 frames in" in result.stdout
    assert sound_packets(out) == sound_packets(clip.path) != []


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.usefixtures("disc")
def test_video_puts_the_disc_before_the_colour(clip: Clip, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert streamseg("video", clip.path, "-o", out, "--bg", "#0000ff", "--smooth", "none").exit_code == 0
    with av.open(str(out)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    inside, outside = cv2.erode(true_alpha(0), np.ones((9, 9))) > 0, cv2.dilate(true_alpha(0), np.ones((9, 9))) == 0
    assert np.abs(first[outside] - (0, 0, 255)).mean() < 6
    assert np.abs(first[inside] - (40, 200, 60)).mean() < 6


@pytest.mark.usefixtures("disc")
def test_video_writes_transparent_pngs(clip: Clip, tmp_path: Path) -> None:
    assert streamseg("video", clip.path, "-o", tmp_path / "x_%03d.png").exit_code == 0
    assert len(list(tmp_path.glob("x_*.png"))) == 24
    assert cv2.imread(str(tmp_path / "x_000.png"), cv2.IMREAD_UNCHANGED).shape == (96, 128, 4)


@pytest.mark.usefixtures("disc")
def test_a_config_file_holds_the_same_names_and_flags_win(clip: Clip, tmp_path: Path) -> None:
    config = tmp_path / "video.toml"
    config.write_text('[composite]\nbg = "red"\nmatte_only = true\n[infer]\ninput_size = 128\n')
    assert streamseg("video", clip.path, "-o", tmp_path / "a.mp4", "--config", config).exit_code == 0
    assert streamseg("video", clip.path, "-o", tmp_path / "b.mp4", "--config", config, "--bg", "blue").exit_code == 0
    config.write_text("[infer]\ninput_sise = 3\n")
    result = streamseg("video", clip.path, "-o", tmp_path / "c.mp4", "--config", config)
    expect_one_line_error(result, "input_sise", str(config))


def settings_of(command: str, *flags: object) -> Settings:
    """The settings that a command runs with."""
    with COMMANDS[command].make_context(command, [str(flag) for flag in flags]) as context:
        return settings_from_flags(context)


def test_who_stays_by_a_flag_wins_over_a_place_in_the_file(tmp_path: Path) -> None:
    config = tmp_path / "video.toml"
    config.write_text('[smooth]\nkeep = "0.1,0.1"\nsubject = "centre"\n')
    given = ("video", "x.mp4", "-o", "y.mp4", "--config", config)
    assert settings_of(*given).smooth.keep == (0.1, 0.1)
    assert settings_of(*given, "--subject", "largest").smooth == SmoothSettings(subject="largest")
    both = settings_of(*given, "--subject", "largest", "--keep", "0.5,0.5").smooth
    assert both == SmoothSettings(subject="largest", keep=(0.5, 0.5))


def test_a_switch_of_the_file_is_undone_by_a_flag(tmp_path: Path) -> None:
    config = tmp_path / "video.toml"
    config.write_text("[composite]\nmatte_only = true\nshadow = true\n")
    chosen = settings_of("video", "x.mp4", "-o", "y.mp4", "--config", config, "--no-matte-only").composite
    assert (chosen.matte_only, chosen.shadow) == (False, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_switch_of_the_settings_can_be_undone(command: str) -> None:
    switches = [
        one for one in COMMANDS[command].params if one.name in setting_names() and getattr(one, "is_flag", None)
    ]
    assert all(one.secondary_opts == [one.opts[0].replace("--", "--no-")] for one in switches)


@pytest.mark.usefixtures("disc")
@pytest.mark.parametrize("name", ["video.toml", "webcam.toml"])
def test_the_shipped_configs_are_valid(name: str, clip: Clip, tmp_path: Path) -> None:
    config = SAMPLES.parent / "configs" / name
    assert streamseg("video", clip.path, "-o", tmp_path / "out.mp4", "--config", config).exit_code == 0


@pytest.mark.usefixtures("disc")
def test_image_cuts_out_at_the_photos_own_size(tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    cv2.imwrite(str(photo), picture(0, 201, 133)[..., ::-1])
    result = streamseg("image", photo, "-o", tmp_path / "cut")
    assert result.exit_code == 0, result.output
    assert "201x133 px, inference" in result.stdout
    cut = cv2.imread(str(tmp_path / "cut" / "me.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(cut[..., 3].astype(int) - true_alpha(0, 201, 133)).mean() < 2


@pytest.mark.usefixtures("disc")
def test_image_reports_the_bad_photo_and_does_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture(0))
    (folder / "b.png").write_text("not a picture")
    cv2.imwrite(str(folder / "c.png"), picture(2))
    result = streamseg("image", folder, "-o", tmp_path / "out", "--matte-only")
    expect_one_line_error(result, "b.png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


@pytest.mark.usefixtures("disc")
def test_image_does_not_overwrite_its_background(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "me.png"), picture(0))
    cv2.imwrite(str(tmp_path / "bg.png"), picture(9))
    result = streamseg("image", tmp_path / "me.png", "-o", tmp_path / "bg.png", "--bg", tmp_path / "bg.png")
    expect_one_line_error(result, "is an input too")


@pytest.mark.usefixtures("disc")
def test_webcam_writes_a_file_and_says_what_it_dropped(clip: Clip, tmp_path: Path) -> None:
    out = tmp_path / "cam.mp4"
    result = streamseg("webcam", "--camera", clip.path, "--bg", "green", "--frames", "6", "-o", out)
    assert result.exit_code == 0, result.output
    assert "dropped" in result.stdout
    assert "latency" in result.stdout
    assert "age of the mattes" in result.stdout
    assert "% of the frames" in result.stdout
    assert 1 <= video_facts(out)[0] <= 6


@pytest.mark.usefixtures("disc")
def test_webcam_says_how_its_network_keeps_pace_if_none_was_named(clip: Clip, tmp_path: Path) -> None:
    flags = ("--camera", clip.path, "--bg", "green", "--frames", "3", "-o", tmp_path / "cam.mp4")
    camera, network = streamseg("webcam", *flags).stdout.splitlines()[:2]
    assert camera == "a file in place of a camera: 128x96 at 23.98 fps"
    assert network.split()[0] == LIVE_MODEL
    assert "the camera's 42 ms" in network
    assert "a frame" not in streamseg("webcam", *flags, "--model", "lite").stdout
    assert "a frame" not in streamseg("video", clip.path, "--bg", "green", "-o", tmp_path / "file.mp4").stdout


@pytest.mark.parametrize("command", ["video", "image", "webcam", "batch", "bench"])
def test_help_says_what_auto_is(command: str) -> None:
    told = " ".join(streamseg(command, "--help").stdout.replace("│", " ").split())
    assert "--model auto|NAME|FILE" in told
    assert "auto: lite for files and photos, nano for cameras (default: auto)" in told


def test_help_says_which_flags_of_webcam_are_no_keys_of_a_configuration() -> None:
    flags = {
        flag.name: flag.opts[0]
        for flag in typer.main.get_command(cli.app).commands["webcam"].params  # type: ignore[attr-defined]
    }
    settings = {name: flag for name, flag in flags.items() if name in setting_names()}
    assert {flags[name] for name in flags.keys() - settings} == {"--token", "--frames", "--config"}
    renamed = {name: flag for name, flag in settings.items() if flag != f"--{name.replace('_', '-')}"}
    assert renamed == {"outputs": "--out"}
    told = " ".join(streamseg("webcam", "--help").stdout.replace("│", " ").split())
    assert "TOML file with the same names (--out is outputs; no token, no frames)" in told


def test_weights_do_not_know_auto() -> None:
    expect_one_line_error(streamseg("weights", "info", "auto"), "no weights at auto", "one of the names lite")


def test_webcam_without_its_folder_of_backgrounds(tmp_path: Path) -> None:
    (tmp_path / "beach.jpg").touch()
    for folder in (tmp_path / "gone", tmp_path / "beach.jpg"):
        flags = ("--camera", "testsrc", "--frames", 1, "-o", tmp_path / "c.mp4")
        result = streamseg("webcam", "--backgrounds", folder, *flags)
        expect_one_line_error(result, f"cannot read the folder of backgrounds {folder}: ", "--backgrounds")


@pytest.mark.usefixtures("disc")
def test_webcam_takes_the_test_pattern(tmp_path: Path) -> None:
    result = streamseg("webcam", "--camera", "testsrc=320x240", "--bg", "blur", "--frames", 3, "-o", tmp_path / "c.mp4")
    assert result.exit_code == 0, result.output
    assert video_facts(tmp_path / "c.mp4")[2:] == (320, 240)


def bad_inputs(tmp_path: Path) -> dict[str, tuple[object, str]]:
    """Name -> (input, fragment of the message)."""
    cut, text, empty = tmp_path / "sound.m4a", tmp_path / "text.mp4", tmp_path / "empty.mp4"
    (tmp_path / "folder").mkdir()
    text.write_text("this is not a video\n" * 50)
    empty.touch()
    write_sound(cut)
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    return {
        "missing": (tmp_path / "missing.mp4", "no such file"),
        "folder": (tmp_path / "folder", "holds no images"),
        "text": (text, "cannot read"),
        "empty": (empty, "cannot read"),
        "sound only": (cut, "no video stream"),
        "dot": (tmp_path / "dot.png", "1x1 px"),
        "pattern": ("testsrc=big", "testsrc=1280x720"),
    }


def write_sound(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=48_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 48_000, 0
        output.mux(stream.encode(silence))
        output.mux(stream.encode(None))


@pytest.mark.parametrize("command", ["video", "webcam"])
@pytest.mark.parametrize("case", ["missing", "folder", "text", "empty", "sound only", "dot", "pattern"])
def test_bad_sources_end_with_one_line(command: str, case: str, tmp_path: Path) -> None:
    source, fragment = bad_inputs(tmp_path)[case]
    source_arguments = [source] if command == "video" else ["--camera", source]
    out = tmp_path / "out.mp4"
    expect_one_line_error(streamseg(command, *source_arguments, "-o", out, "--bg", "red"), fragment)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (("--bg", "no-such-colour"), "neither a file nor a colour"),
        (("--bg", "missing.jpg"), "missing.jpg"),
        (("--bg", "red", "--model", "missing.safetensors"), "missing.safetensors"),
        (("--bg", "red", "--model", "full"), "streamseg weights download full"),
        (("--bg", "red", "--engine", "tpu"), "tpu"),
        (("--bg", "red", "--input-size", "7"), "input_size"),
        (("--bg", "red", "--batch-size", "0"), "batch_size"),
        (("--bg", "red", "--stride", "31"), "stride"),
        (("--bg", "red", "--smooth", "butter"), "butter"),
        (("--bg", "red", "--fit", "squeeze"), "squeeze"),
        (("--bg", "red", "--config", "missing.toml"), "missing.toml"),
        (("--bg", "red", "--alpha", "below"), "below"),
    ],
)
def test_bad_options_end_with_one_line(options: tuple[str, ...], fragment: str, clip: Clip, tmp_path: Path) -> None:
    before = hashlib.sha256(clip.path.read_bytes()).digest()
    out = tmp_path / "out.mp4"
    expect_one_line_error(streamseg("video", clip.path, "-o", out, *options), fragment)
    assert list(tmp_path.iterdir()) == []
    assert hashlib.sha256(clip.path.read_bytes()).digest() == before


@pytest.mark.usefixtures("disc")
@pytest.mark.parametrize("out", ["same", "nowhere/out.mp4", "out.avi", "x_%d.jpg"])
def test_bad_outputs_end_with_one_line(out: str, clip: Clip, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    shutil.copy(clip.path, source)
    target = source if out == "same" else tmp_path / out
    expect_one_line_error(streamseg("video", source, "-o", target, "--bg", "red"), str(target.name))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    assert source.read_bytes() == clip.path.read_bytes()


@pytest.mark.usefixtures("disc")
def test_a_background_is_not_overwritten(clip: Clip, tmp_path: Path) -> None:
    background = tmp_path / "bg.mp4"
    shutil.copy(clip.path, background)
    expect_one_line_error(streamseg("video", clip.path, "-o", background, "--bg", background), "is an input too")
    assert background.read_bytes() == clip.path.read_bytes()


@pytest.mark.usefixtures("disc")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("name", ["talk.alpha.mp4", "talk.mp4.part", "talk.alpha.mp4.part.old"])
def test_no_file_that_is_written_is_an_input(name: str, jobs: int, clip: Clip, tmp_path: Path) -> None:
    """The second file and the unfinished ones neither."""
    shutil.copy(clip.path, tmp_path / name)
    result = streamseg("video", tmp_path / name, "-o", tmp_path / "talk.mp4", "--alpha", "sidecar", "--jobs", jobs)
    expect_one_line_error(result, "is an input too; give another name")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == clip.path.read_bytes()


@pytest.mark.usefixtures("disc")
def test_a_truncated_video_keeps_what_decoded_and_says_so(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.ts", count=48)
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole.path)) as source, av.open(str(cut), "w", options={"movflags": "faststart"}) as output:
        copy = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                output.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    result = streamseg("video", cut, "-o", tmp_path / "out.mp4", "--bg", "red")
    (line,) = result.stderr.strip().splitlines()
    assert result.exit_code == 3
    assert line.startswith(f"warning: {cut} is damaged: it is cut short, with ")
    assert "holds what could be decoded" in line
    assert 0 < video_facts(tmp_path / "out.mp4")[0] < 48


@pytest.mark.usefixtures("disc")
def test_odd_sizes_are_padded_to_even_ones(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), picture(index, 101, 77))
    assert streamseg("video", tmp_path / "photos", "-o", tmp_path / "out.mp4", "--bg", "red").exit_code == 0
    assert video_facts(tmp_path / "out.mp4") == (3, Fraction(25), 102, 78)


@pytest.mark.parametrize("out", ["photos", "photos/%d.png"])
def test_a_folder_of_images_is_not_written_into(out: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "00000.png"), picture(0))
    expect_one_line_error(streamseg("video", folder, "-o", tmp_path / out, "--matte-only"), "is an input too")


def test_no_camera_and_no_display_end_with_one_line(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    expect_one_line_error(streamseg("webcam", "--camera", "97", "--out", "virtual"), "no camera at /dev/video97")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    expect_one_line_error(streamseg("webcam", "--camera", clip.path, "--bg", "red"), "no display", "--out http")


def test_weights_commands(tmp_path: Path) -> None:
    listed = streamseg("weights", "list").stdout.splitlines()
    assert any(line.split()[:4] == ["lite", "packaged", "4.6", "MB"] for line in listed)
    assert any(line.split()[:5] == ["full", "to", "download", "176.0", "MB"] for line in listed)
    assert "1,128,333" in streamseg("weights", "info", "lite").stdout
    out = tmp_path / "copy.safetensors"
    packaged = SAMPLES.parent / "streamseg" / "model" / "files" / "u2netp.safetensors"
    assert streamseg("weights", "import", packaged, "-o", out).exit_code == 0
    assert out.exists()
    expect_one_line_error(streamseg("weights", "import", tmp_path / "no.pth", "-o", out), "no.pth")
    expect_one_line_error(streamseg("weights", "info", "no-such"), "no-such")


@pytest.mark.skipif(os.name == "nt", reason="signals are sent another way there")
def test_ctrl_c_finishes_the_file_and_exits_130(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    process = subprocess.Popen(
        [sys.executable, "-m", "streamseg", "webcam", "--camera", "testsrc=128x96", "--bg", "red", "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    line = process.stderr.readline()  # The first progress line: frames are being written.
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert line.startswith("frame ")
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "stopped by Ctrl-C" in errors
    assert video_facts(out)[0] > 0


def test_the_real_network_runs_end_to_end(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", count=3)
    command = [sys.executable, "-W", "error", "-m", "streamseg", "video", clip.path, "-o", tmp_path / "out.mp4"]
    process = subprocess.run(
        [*command, "--bg", BEACH, "--input-size", "64"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert video_facts(tmp_path / "out.mp4")[0] == 3


DOCUMENTS = sorted(path for path in SAMPLES.parent.rglob("*.md") if not {".venv", "node_modules"} & set(path.parts))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(SAMPLES.parent)))
def test_commands_in_documents_exist(document: Path) -> None:
    """With these flags; whether they do what is said of them is for other tests."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for name, arguments in re.findall(r"streamseg (\w+)((?: +[^ `#\n|;][^ `\n;]*)*)", text):
        if name in COMMANDS:
            flags = re.findall(r"(?<=[ '])--?[a-z][\w-]*", arguments)
            known = {flag for option in COMMANDS[name].params for flag in (*option.opts, *option.secondary_opts)}
            assert set(flags) <= known | {"--help"}, f"streamseg {name}{arguments}"
