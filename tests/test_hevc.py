"""HEVC with an alpha layer: the bits by themselves; `test_alpha_video` has an independent FFmpeg decode whole files."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamseg.decode import open_source
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.media import hevc
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from streamseg.sink.formats import choose_encoding
from streamseg.sink.hevc_alpha import LayeredEncoder
from tests.synthetic import picture

WIDTH_PX, HEIGHT_PX, COUNT = 75, 53, 130
TIMES = [Fraction(n * n + 40 * n, 3000) for n in range(COUNT)]


def cut_out(index: int) -> Pixels:
    alpha = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    alpha[10:40, 5 + index % 40 : 35 + index % 40] = 255
    return np.dstack((picture(index, WIDTH_PX, HEIGHT_PX), alpha))


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of odd size, of uneven times and of three groups of pictures."""
    path = tmp_path_factory.mktemp("hevc") / "x.mp4"
    info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(30), Fraction(1, 3000), COUNT)
    with open_sink(str(path), info, "foreground") as sink:
        for index, time in enumerate(TIMES):
            sink.write(Frame(index, time, cut_out(index)))
    return path


def frames_of(path: Path) -> list[Frame]:
    with open_source(str(path)) as source:
        return list(source)


def setup_of(path: Path) -> bytes:
    with av.open(str(path)) as file:
        return file.streams.video[0].codec_context.extradata or b""


class TestFile:
    def test_every_frame_at_its_time_with_its_alpha(self, layered: Path) -> None:
        frames = frames_of(layered)
        assert [frame.pts for frame in frames] == TIMES
        for frame in frames:
            found = frame.pixels[:HEIGHT_PX, :WIDTH_PX, 3].astype(int)
            assert np.abs(found - cut_out(frame.index)[..., 3]).mean() < 1

    def test_an_odd_side_is_made_even(self, layered: Path) -> None:
        assert frames_of(layered)[0].pixels.shape == (HEIGHT_PX + 1, WIDTH_PX + 1, 4)

    @pytest.mark.parametrize("index", [1, 59, 60, 61, 129])
    def test_seeking(self, index: int, layered: Path) -> None:
        from streamseg.decode.video import VideoFile

        with VideoFile(str(layered)) as source:
            source.skip_to(TIMES[index])
            frame = next(iter(source))
        assert frame.pts == TIMES[index]
        assert np.abs(frame.pixels[:HEIGHT_PX, :WIDTH_PX, 3].astype(int) - cut_out(index)[..., 3]).mean() < 1

    def test_players_without_alpha_see_the_colours(self, layered: Path) -> None:
        with av.open(str(layered)) as file:
            stream = file.streams.video[0]
            assert stream.codec_context.codec_tag == "hvc1"
            shown = next(file.decode(stream)).to_ndarray(format="rgb24")[:HEIGHT_PX, :WIDTH_PX]
        assert np.abs(shown.astype(int) - cut_out(0)[..., :3]).mean() < 6

    def test_the_setup_announces_alpha(self, layered: Path) -> None:
        units = hevc.configured_units(setup_of(layered))
        assert [hevc.nal_type(nal) for nal in units] == [hevc.VPS, hevc.SPS, hevc.PPS, hevc.PREFIX_SEI]
        assert hevc.is_alpha_information(units[-1])

    def test_high_quality_is_closer(self, layered: Path, tmp_path: Path) -> None:
        info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(30), Fraction(1, 30), 20)
        with open_sink(str(tmp_path / "x.mp4"), info, "foreground", OutputSettings(quality="high")) as sink:
            for index in range(20):
                sink.write(Frame(index, Fraction(index, 30), cut_out(index)))

        def error(path: Path) -> float:
            found = [frame.pixels[:HEIGHT_PX, :WIDTH_PX].astype(int) for frame in frames_of(path)[:20]]
            return float(np.mean([np.abs(pixels - cut_out(n)).mean() for n, pixels in enumerate(found)]))

        assert error(tmp_path / "x.mp4") < error(layered)

    def test_damage_in_the_middle(self, layered: Path, tmp_path: Path) -> None:
        data = bytearray(layered.read_bytes())
        with av.open(str(layered)) as file:
            packet = [packet for packet in file.demux(video=0) if packet.size][100]
        data[packet.pos + 4 : packet.pos + packet.size] = bytes(packet.size - 4)
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(data)
        with open_source(str(damaged)) as source:
            frames = list(source)
        assert source.decode_error
        assert len(frames) >= 99
        assert all(frame.pixels.shape[2] == 4 for frame in frames)


def write_half_seen(path: Path, premultiplied: bool, layout: str = "yuv420p", use: int = hevc.STRAIGHT) -> Pixels:
    """Write five pictures: half transparent on the left, then opaque, nothing on the right; returns the straight ones.

    Args:
        path: the file.
        premultiplied: whether its colours are multiplied by alpha.
        layout: of both layers.
        use: what its SEI messages say.
    """
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, :32], alpha[:, 32:64] = 128, 255
    rgb = cv2.resize(np.random.default_rng(1).integers(90, 230, (4, 6, 3)).astype(np.uint8), (96, 64))
    stored = np.rint(rgb * (alpha[..., None] / 255)).astype(np.uint8) if premultiplied else rgb
    info = VideoInfo(96, 64, Fraction(30), Fraction(1, 30), 5)
    encoding = replace(choose_encoding(path, "foreground", OutputSettings(quality="high")), layout=layout)
    with av.open(str(path), "w") as output:
        encoder = LayeredEncoder(output, encoding, info)
        for index in range(5):
            output.mux(encoder.encode(Frame(index, Fraction(index, 30), np.dstack((stored, alpha))), index, 1))
        output.mux(encoder.flush())
    data = path.read_bytes()
    said = hevc.alpha_information()
    assert data.count(said) >= 2, "in the setup and in the first picture"
    path.write_bytes(data.replace(said, hevc.alpha_information(use)))
    return np.dstack((rgb, alpha))


class TestUseOfAlpha:
    @pytest.mark.parametrize("use", [hevc.STRAIGHT, hevc.PREMULTIPLIED])
    def test_pixels_are_straight(self, use: int, tmp_path: Path) -> None:
        """Whatever the file holds, if it says so; where nothing shows, a premultiplied file holds no colours."""
        meant = write_half_seen(tmp_path / "x.mp4", use == hevc.PREMULTIPLIED, use=use).astype(int)
        frames = frames_of(tmp_path / "x.mp4")
        assert len(frames) == 5
        for frame in frames:
            difference = np.abs(frame.pixels - meant)
            assert difference[..., 3].mean() < 1
            assert difference[:, :30, :3].mean() < 5
            assert difference[:, 34:62, :3].mean() < 3
            assert (frame.pixels[:, 70:, :3].max() < 3) == (use == hevc.PREMULTIPLIED)

    def test_bright_noise_does_not_wrap_around(self, tmp_path: Path) -> None:
        """A file that says premultiplied and is not: levels end at white."""
        meant = write_half_seen(tmp_path / "x.mp4", False, use=hevc.PREMULTIPLIED)
        for frame in frames_of(tmp_path / "x.mp4"):
            assert np.all(frame.pixels[:, :30, :3].mean(axis=2) > meant[:, :30, :3].mean(axis=2))

    @pytest.mark.parametrize("use", [hevc.STRAIGHT, hevc.PREMULTIPLIED])
    def test_layers_of_ten_bits(self, use: int, tmp_path: Path) -> None:
        meant = write_half_seen(tmp_path / "x.mp4", use == hevc.PREMULTIPLIED, "yuv420p10le", use).astype(int)
        with av.open(str(tmp_path / "x.mp4")) as file:
            assert next(file.decode(video=0)).format.name == "yuv420p10le"
        frames = frames_of(tmp_path / "x.mp4")
        assert len(frames) == 5
        for frame in frames:
            difference = np.abs(frame.pixels - meant)
            assert difference[..., 3].mean() < 1
            assert difference[:, :30, :3].mean() < 5
            assert difference[:, 34:62, :3].mean() < 3


class TestBits:
    @pytest.mark.parametrize("value", [0, 1, 2, 3, 7, 8, 254, 255, 70_000])
    def test_exp_golomb(self, value: int) -> None:
        assert hevc.Reading(hevc.Bits().ue(value).tail()).ue() == value

    def test_table_9_2(self) -> None:
        """The codes of 0 to 4 as the standard prints them: 1, 010, 011, 00100, 00101; then the stop bit."""
        assert hevc.Bits().ue(0, 1, 2, 3, 4).tail() == bytes([0b10100110, 0b01000010, 0b11000000])

    @pytest.mark.parametrize("raw", ["000000", "000001", "000002", "000003", "00000000", "40010000010000"])
    def test_no_start_code_inside_a_unit(self, raw: str) -> None:
        escaped = hevc.escaped(bytes.fromhex(raw))
        assert not any(bytes([0, 0, byte]) in escaped for byte in (0, 1, 2))
        assert hevc.unescaped(escaped) == bytes.fromhex(raw)

    def test_layers_in_unit_headers(self) -> None:
        unit = bytes.fromhex("4001ff")
        for layer in (0, 1, 31, 32, 62):
            moved = hevc.at_layer(unit, layer)
            assert hevc.layer_of(moved) == layer
            assert hevc.nal_type(moved) == hevc.VPS
            assert hevc.at_layer(moved, 0) == unit

    def test_alpha_information(self) -> None:
        """Straight alpha, 8 bits, 0 is transparent and 255 opaque; a message of four bytes."""
        assert hevc.alpha_information().hex() == "4e01a50400007f9080"

    @pytest.mark.parametrize("use", [hevc.STRAIGHT, hevc.PREMULTIPLIED, 2])
    def test_use_of_alpha(self, use: int) -> None:
        """Also behind another message, whose size takes two bytes."""
        alone = hevc.alpha_information(use)
        behind = alone[:2] + bytes([5, 255, 1]) + bytes([7]) * 256 + alone[2:]
        assert hevc.alpha_use(alone) == hevc.alpha_use(behind) == use
        assert hevc.is_alpha_information(behind)

    @pytest.mark.parametrize(
        "unit", ["4e01", "4e01a5", "4e01a504", "4e01a580", "4e01ff", "4e010401b580", "4001a50400007f9080"]
    )
    def test_units_that_say_nothing_on_its_use(self, unit: str) -> None:
        assert hevc.alpha_use(bytes.fromhex(unit)) is None

    def test_units_with_lengths(self) -> None:
        units = [bytes.fromhex("4001ff"), bytes.fromhex("020100aa")]
        sample = hevc.with_lengths(units)
        assert list(hevc.without_lengths(sample)) == units
        assert list(hevc.without_lengths(sample[:-1])) == units[:1]

    def test_units_with_start_codes(self) -> None:
        stream = bytes.fromhex("00000001 4001ff 000001 4201aa")
        units = list(hevc.nal_units(stream))
        assert units == [bytes.fromhex("4001ff"), bytes.fromhex("4201aa")]
        assert list(hevc.nal_units(hevc.with_start_codes(units))) == units

    @pytest.mark.parametrize("box", [b"", b"\x01", bytes(40), b"\x00\x00\x00\x01\x40\x01", b"\x01" * 30])
    def test_what_is_no_setup(self, box: bytes) -> None:
        assert not any(map(hevc.is_alpha_information, hevc.configured_units(box)))
