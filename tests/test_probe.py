"""What `streamseg probe` says of clips that are known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from streamseg.cli.app import app
from streamseg.frames import Frame, VideoInfo
from streamseg.probe import describe
from streamseg.sink import open_sink
from streamseg.sink.images import write_image
from tests.synthetic import picture, write_clip
from tests.test_fidelity import hdr_clip, phone_clip


def facts(path: Path) -> dict[str, str]:
    return {line.name: line.text for line in describe(str(path), 320)}


def test_a_phone_clip(tmp_path: Path) -> None:
    found = facts(phone_clip(tmp_path))
    assert found["video"].startswith("h264, 97x128 px, ")
    assert ", variable, " in found["video"]
    assert found["rotation"] == "stored turned by 90 degrees; it is set upright"
    assert found["colour"] == "untagged, limited range; read as BT.601, as players do, and written as BT.709"
    assert found["alpha"] == "none"
    assert found["audio"] == "aac, 48,000 Hz, mono; copied in .mp4 .mov .mkv, transcoded in .webm"


def test_an_even_rate_is_not_called_variable(tmp_path: Path) -> None:
    found = facts(write_clip(tmp_path / "x.mp4", 30).path)
    assert "23.98 fps, yuv420p" in found["video"]
    assert "rotation" not in found
    assert found["network"] == "sees it at 320x256 px"


@pytest.mark.parametrize("name", ["x.mov", "x.webm", "x.mkv", "x.mp4"])
def test_alpha(name: str, tmp_path: Path) -> None:
    pixels = np.dstack((picture(0), np.full((96, 128), 128, np.uint8)))
    with open_sink(str(tmp_path / name), VideoInfo(128, 96, Fraction(25), Fraction(1, 25), 3), "foreground") as sink:
        for index in range(3):
            sink.write(Frame(index, Fraction(index, 25), pixels))
    assert facts(tmp_path / name)["alpha"] == "yes, it is kept"


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range(transfer: int, name: str, tmp_path: Path) -> None:
    clip = hdr_clip(tmp_path / "x.mp4", transfer, (400, 400))
    assert facts(clip)["colour"] == f"{name}, high dynamic range; toned down to BT.709"


def test_interlaced(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mpg"), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "top": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), "rgb24")))
        output.mux(stream.encode(None))
    assert facts(tmp_path / "x.mpg")["fields"] == "interlaced; they become whole frames"


def test_images(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.dstack((picture(0), picture(0)[..., :1])))
    assert facts(tmp_path / "a.png")["image"] == "128x96 px"
    assert facts(tmp_path / "a.png")["alpha"] == "yes, it is kept"
    write_image(tmp_path / "b.png", picture(1))
    assert facts(tmp_path)["image"] == "2 images of 128x96 px"


def test_the_command(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "x.mp4", 3).path
    done = CliRunner().invoke(app, ["probe", str(clip)])
    assert done.exit_code == 0
    assert "video      h264, 128x96 px" in done.output
    (tmp_path / "y.mp4").write_bytes(b"nothing")
    refused = CliRunner().invoke(app, ["probe", str(tmp_path / "y.mp4")])
    assert refused.exit_code == 2
    assert "cannot read" in refused.output
