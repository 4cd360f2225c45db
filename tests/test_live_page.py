"""The page's server: who gets in, what can be changed, uploads, mattes for photos, and their limits."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from starlette.responses import JSONResponse

from streamseg.controls import CHANGEABLE, Controls
from streamseg.errors import ConfigError, InputError, OutputError
from streamseg.frames import VideoInfo
from streamseg.image import Pixels
from streamseg.live import limited
from streamseg.live.backgrounds import Backgrounds
from streamseg.live.gate import Gate, check_token
from streamseg.live.limited import LimitedProcess, prepare_background, suffix_of
from streamseg.live.sink import open_page
from streamseg.live.uploads import MAX_KEPT, MAX_PHOTO_BYTES, MAX_VIDEO_BYTES, Uploads
from streamseg.settings import load_settings
from streamseg.statistics import Statistics
from tests.live import TOKEN, LivePage, folder_of_backgrounds, value_of
from tests.synthetic import DISC, picture, true_alpha, write_clip
from tests.waiting import WAIT_SECONDS, wait_for


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in place of the system's for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def live(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    folder = folder_of_backgrounds(tmp_path_factory.mktemp("user") / "backgrounds")
    with LivePage(backgrounds=folder) as live:
        yield live
    wait_for(lambda: not list(temporary.iterdir()))


@pytest.fixture
def client(live: LivePage) -> Iterator[httpx.Client]:
    """Another program, which knows the token."""
    with httpx.Client(
        base_url=live.base, headers={"authorization": f"Bearer {TOKEN}"}, timeout=WAIT_SECONDS, verify=False
    ) as client:
        yield client


@pytest.fixture
def stranger(live: LivePage) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.base, timeout=WAIT_SECONDS, verify=False) as client:
        yield client


def png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def shown(answer: httpx.Response) -> Pixels:
    assert answer.status_code == 200, answer.text
    pixels = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED).astype(np.uint8)
    code = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(pixels.shape[2] if pixels.ndim == 3 else 1)
    return pixels if code is None else cv2.cvtColor(pixels, code).astype(np.uint8)


def refused(answer: httpx.Response, status: int, word: str = "") -> None:
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]
    assert word in message
    assert "\n" not in message and "Traceback" not in message and "/tmp" not in message


PATHS = ["/", "/obs", "/app.js", "/feed.mjpeg", "/snapshot.png", "/api/state", "/api/events", "/api/thumbnail?id=x"]


class TestWhoGetsIn:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é" * 20])
    def test_nobody_without_the_token(self, stranger: httpx.Client, path: str, token: str) -> None:
        answer = stranger.get(path, params={"token": token} if token else None, headers={"accept": "*/*"})
        assert answer.status_code == 401
        assert TOKEN not in answer.text

    @pytest.mark.parametrize("path", ["/api/state", "/api/matte", "/api/backgrounds", "/api/webrtc"])
    def test_nobody_changes_anything_without_it(self, stranger: httpx.Client, path: str) -> None:
        refused(stranger.post(path, content=b"{}"), 401, "token")

    def test_the_address_gives_a_cookie_and_goes_on_without_the_token(self, stranger: httpx.Client) -> None:
        answer = stranger.get("/obs", params={"token": TOKEN, "alpha": "green"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/obs?alpha=green"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert stranger.get("/obs?alpha=green").status_code == 200
        assert stranger.get("/api/state").status_code == 200

    def test_feeds_take_the_token_in_the_address(self, stranger: httpx.Client) -> None:
        assert stranger.get("/snapshot.png", params={"token": TOKEN}).status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "a b"])
    def test_a_name_that_was_pointed_here_is_refused(self, client: httpx.Client, host: str) -> None:
        assert client.get("/api/state", headers={"host": host}).status_code in (400, 403)

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
    def test_other_origins_are_refused_even_with_the_token(self, client: httpx.Client, origin: str) -> None:
        refused(client.post("/api/state", content=b"{}", headers={"origin": origin}), 403, "other sites")
        refused(client.get("/snapshot.png", headers={"origin": origin}), 403, "other sites")

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_pictures_in_other_sites_are_refused_but_links_work(self, client: httpx.Client, site: str) -> None:
        image = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
        refused(client.get("/feed.mjpeg", headers=image), 403, "other sites")
        refused(client.post("/api/state", content=b"{}", headers=link), 403, "other sites")
        assert client.get("/", headers=link).status_code == 200

    def test_our_own_page_gets_in(self, live: LivePage, client: httpx.Client) -> None:
        own = {"origin": live.base, "sec-fetch-site": "same-origin"}
        assert client.post("/api/state", content=b"{}", headers=own).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/api/state", "/nothing", "/style.css"])
    def test_every_answer_keeps_browsers_to_the_rules(self, client: httpx.Client, path: str) -> None:
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers

    def test_the_page_has_no_script_or_style_of_its_own_and_nothing_from_elsewhere(self, client: httpx.Client) -> None:
        for path in ("/", "/obs"):
            page = client.get(path).text
            assert "<style" not in page and "style=" not in page and "onclick" not in page
            assert page.count("<script") == page.count("<script src=")
            assert "http:" not in page and "https:" not in page

    def test_tokens_of_ones_own(self) -> None:
        assert check_token("0123456789abcdef") == "0123456789abcdef"
        for token in ("short", "with spaces in it all", "semicolon;semicolon", "ümläüts-are-not-in-it"):
            with pytest.raises(ConfigError, match="at least 16 characters"):
                check_token(token)

    @pytest.mark.parametrize(
        ("host", "is_ours"),
        [
            ("desk.lan:80", True),
            ("desk.lan", True),
            ("DESK.lan", True),
            ("192.168.1.5:8765", True),
            ("[::1]:8765", True),
            ("localhost:1234", True),
            (socket.gethostname() + ".local", True),
            ("desk.lan.evil.example", False),
            ("evil.example", False),
        ],
    )
    def test_names_of_a_server_that_others_can_reach(self, host: str, is_ours: bool) -> None:
        gate = Gate(JSONResponse({}), TOKEN, "desk.lan", 8765, frozenset())

        async def status() -> int:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://x") as client:
                headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
                return (await client.get("/api/state", headers=headers)).status_code

        assert asyncio.run(status()) == (200 if is_ours else 403)

    def test_the_address_of_every_interface_is_one_that_can_be_opened(self, live: LivePage) -> None:
        page = open_page(VideoInfo(320, 180), live.controls, Statistics(), picture, host="0.0.0.0", port=0)
        with page:
            assert "0.0.0.0" not in page.url
            assert page.url.count("?token=") == 1 and page.url in page.banner

    def test_missing_packages_are_named(self) -> None:
        for package in ("uvicorn", "starlette", "aiortc"):
            code = (
                f"import sys; sys.modules[{package!r}] = None\n"
                "from streamseg.errors import MissingExtraError\n"
                "try: import streamseg.live.sink\n"
                "except MissingExtraError as error: print(error)"
            )
            found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert found.stdout == f"the page needs the package {package}: pip install 'streamseg[serve]'\n"

    def test_a_taken_port_is_one_clear_line(self, live: LivePage) -> None:
        with pytest.raises(OutputError, match=f"port {live.page.port}: .*give another --port"):
            open_page(
                VideoInfo(320, 180),
                live.controls,
                Statistics(),
                picture,
                port=live.page.port,
            )


class TestState:
    @pytest.fixture(autouse=True)
    def as_before(self, live: LivePage) -> Iterator[None]:
        before = live.controls.current
        yield
        live.controls.change(
            bg=before.composite.bg,
            mirror=before.live.mirror,
            paused=before.live.paused,
            model=before.infer.model,
            blur=before.composite.blur,
        )

    def test_what_it_says(self, client: httpx.Client) -> None:
        state = client.get("/api/state").json()
        assert state["settings"]["bg"] == "#0000ff"
        assert state["settings"]["smooth"] == "none"
        assert [one["id"] for one in state["choices"]["backgrounds"][:2]] == ["folder/red.png", "folder/yellow.png"]
        assert state["choices"]["models"] == ["auto", "lite", "nano"]
        assert state["figures"]["engine"] == "a stand-in"
        assert (state["figures"]["width_px"], state["figures"]["height_px"]) == (320, 180)

    @pytest.mark.parametrize(
        ("given", "bg"),
        [
            ("blur", "blur"),
            ("none", None),
            (None, None),
            ("#00B140", "#00b140"),
            ("#FfF", "#ffffff"),
            ("green", "#008000"),
            ("gradient:Red, #0000FF", "gradient:#ff0000,#0000ff"),
            ("gradient:red,lime,blue", "gradient:#ff0000,#00ff00,#0000ff"),
            ("gradient:#fff,#000", "gradient:#ffffff,#000000"),
        ],
    )
    def test_backgrounds_that_are_no_files(
        self, live: LivePage, client: httpx.Client, given: str | None, bg: str | None
    ) -> None:
        answer = client.post("/api/state", json={"bg": given})
        assert live.controls.current.composite.bg == bg
        assert answer.json()["settings"]["bg"] == (bg or "none")

    @pytest.mark.parametrize(
        ("bg", "told"),
        [
            ("gradient:red,#0000ff", "gradient:#ff0000,#0000ff"),
            ("gradient:#fff,#000", "gradient:#ffffff,#000000"),
            ("green", "#008000"),
            ("#FfF", "#ffffff"),
            ("blur", "blur"),
            (None, None),
        ],
    )
    def test_a_background_of_the_start_that_is_no_file_is_none_in_the_list(
        self, bg: str | None, told: str | None
    ) -> None:
        with closing(Uploads(LimitedProcess())) as uploads:
            backgrounds = Backgrounds(Controls(load_settings(overrides={"bg": bg})), uploads)
            assert backgrounds.files() == []
            assert backgrounds.value_of(backgrounds.id_of(bg)) == told

    def test_a_background_of_the_folder(self, live: LivePage, client: httpx.Client) -> None:
        client.post("/api/state", json={"bg": "folder/red.png"})
        assert str(live.controls.current.composite.bg).endswith("backgrounds/red.png")
        assert client.get("/api/state").json()["settings"]["bg"] == "folder/red.png"

    def test_several_at_once(self, live: LivePage, client: httpx.Client) -> None:
        client.post("/api/state", json={"mirror": True, "blur": 2, "bg": "blur", "model": "nano"})
        current = live.controls.current
        assert (current.live.mirror, current.composite.blur, current.composite.bg) == (True, 2, "blur")
        assert current.infer.model == "nano"

    def test_everything_that_can_change_is_told_and_taken_back(self, live: LivePage, client: httpx.Client) -> None:
        settings = client.get("/api/state").json()["settings"]
        assert settings.keys() == CHANGEABLE
        before = live.controls.current
        assert client.post("/api/state", json=settings).json()["settings"] == settings
        assert live.controls.current == before

    def test_look_and_who_is_shown(self, live: LivePage, client: httpx.Client) -> None:
        values = {
            **{"feather": 12, "light_wrap": 0.5, "match_colors": True, "shadow": True},
            **{"gate": False, "subject": "largest", "keep": [0.25, 0.5], "smooth": "motion"},
        }
        before = live.controls.current
        assert client.post("/api/state", json=values).json()["settings"].items() >= values.items()
        current = live.controls.current
        assert (current.composite.feather, current.smooth.keep) == (12, (0.25, 0.5))
        assert client.post("/api/state", json={"keep": None}).json()["settings"]["keep"] is None
        live.controls.change(**{name: value_of(before, name) for name in values})

    @pytest.mark.parametrize(
        "values",
        [
            {"bg": "gradient:red"},
            {"bg": "gradient:red,nothing"},
            {"bg": "gradient:"},
            {"keep": [0.5]},
            {"keep": [2, 0.5]},
            {"keep": "everywhere"},
            {"feather": -1},
            {"light_wrap": 2},
            {"subject": "me"},
            {"self": 1},
            {"x" * 10_000: 1},
            {"bg": "/etc/passwd"},
            {"bg": "../red.png"},
            {"bg": "red.png"},
            {"bg": "folder/../red.png"},
            {"bg": "upload/red.png"},
            {"bg": 3},
            {"bg": ["blur"]},
            {"bg": "start"},
            {"model": "/etc/passwd"},
            {"model": "u2netp"},
            {"model": None},
            {"backgrounds": "/"},
            {"engine": "torch"},
            {"blur": 1000},
            {"blur": "NaN"},
            {"smooth": "magic"},
            {"mirror": "perhaps"},
            {"mirror": True, "bg": "/etc/passwd"},
        ],
    )
    def test_what_is_refused_changes_nothing(
        self, live: LivePage, client: httpx.Client, values: dict[str, Any]
    ) -> None:
        before = live.controls.current
        refused(client.post("/api/state", json=values), 422)
        assert live.controls.current == before

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b"3", b"[" * 16000])
    def test_what_is_no_object(self, client: httpx.Client, body: bytes) -> None:
        refused(client.post("/api/state", content=body), 400, "JSON object")

    def test_a_body_that_is_too_large(self, client: httpx.Client) -> None:
        refused(client.post("/api/state", content=b" " * 20_000), 413, "too large")

    def test_other_methods_and_paths(self, client: httpx.Client) -> None:
        refused(client.delete("/api/state"), 405)
        refused(client.get("/../../etc/passwd"), 404)
        refused(client.get("/%2e%2e/%2e%2e/etc/passwd"), 404)
        refused(client.get("/api/thumbnail", params={"id": "folder/../red.png"}), 404)

    def test_changes_by_others_are_told_as_events(self, live: LivePage, client: httpx.Client) -> None:
        with client.stream("GET", "/api/events") as events:
            lines = events.iter_lines()
            live.controls.change(mirror=True)
            for line in lines:
                if line.startswith("data:") and json.loads(line[5:]).get("settings", {}).get("mirror"):
                    break

    def test_thumbnails_of_the_folder(self, client: httpx.Client) -> None:
        red = shown(client.get("/api/thumbnail", params={"id": "folder/red.png"}))
        assert red.shape == (135, 240, 3)
        assert np.abs(red[60, 100].astype(int) - (255, 0, 0)).max() <= 4

    def test_a_thumbnail_of_a_broken_file_does_not_tell_its_folder(self, live: LivePage, client: httpx.Client) -> None:
        folder = live.controls.current.live.backgrounds
        assert folder
        for name in ("broken.jpg", "broken.mp4"):
            (folder / name).write_bytes(b"nonsense")
            answer = client.get("/api/thumbnail", params={"id": f"folder/{name}"})
            (folder / name).unlink()
            refused(answer, 422, "the file")
            assert str(folder) not in answer.text


class TestFeeds:
    def test_mjpeg_moves(self, client: httpx.Client) -> None:
        assert len(set(self.jpegs(client, "/feed.mjpeg", 3))) == 3

    def test_mjpeg_over_green(self, client: httpx.Client) -> None:
        image = cv2.imdecode(np.frombuffer(self.jpegs(client, "/feed.mjpeg?alpha=green", 1)[0], np.uint8), 1)
        assert np.abs(image[5, 5].astype(int) - (0, 255, 0)).max() <= 4

    def test_another_alpha(self, client: httpx.Client) -> None:
        refused(client.get("/feed.mjpeg?alpha=purple"), 422, "green")

    def test_snapshot(self, client: httpx.Client) -> None:
        answer = client.get("/snapshot.png")
        assert shown(answer).shape == (180, 320, 3)
        assert "attachment" in answer.headers["content-disposition"]

    @pytest.mark.parametrize("offer", [b"", b"v=0", b"\xff" * 100, b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 50])
    def test_webrtc_offers_that_are_none(self, client: httpx.Client, offer: bytes) -> None:
        refused(client.post("/api/webrtc", content=offer), 422, "session description")

    def test_webrtc_offers_that_are_too_large(self, client: httpx.Client) -> None:
        refused(client.post("/api/webrtc", content=b"v" * 70_000), 413, "too large")

    @staticmethod
    def jpegs(client: httpx.Client, path: str, count: int) -> list[bytes]:
        """The first JPEGs of a stream."""
        read, found = b"", []
        with client.stream("GET", path) as stream:
            for chunk in stream.iter_bytes():
                read += chunk
                while read.count(b"--frame\r\n") > 1:
                    part, read = read.removeprefix(b"--frame\r\n").split(b"--frame\r\n", 1)
                    read = b"--frame\r\n" + read
                    found.append(part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))
                if len(found) >= count:
                    return found[:count]
        raise AssertionError("the stream ended")


class TestMatte:
    def test_a_cut_out(self, client: httpx.Client) -> None:
        rgba = shown(client.post("/api/matte", content=png(picture(0))))
        assert rgba.shape == (96, 128, 4)
        assert np.abs(rgba[..., 3].astype(int) - true_alpha(0)).mean() < 2
        assert tuple(rgba[48, 42]) == (*DISC, 255)

    def test_a_form_as_rembg_takes_it(self, client: httpx.Client) -> None:
        photo = png(picture(0))
        raw = client.post("/api/matte", content=photo)
        assert client.post("/api/matte", files={"other": b"x", "file": ("a.png", photo)}).content == raw.content

    @pytest.mark.parametrize(("bg", "colour"), [("green", (0, 128, 0)), ("#102030", (16, 32, 48))])
    def test_a_composite(self, client: httpx.Client, bg: str, colour: tuple[int, int, int]) -> None:
        rgb = shown(client.post("/api/matte", params={"bg": bg}, content=png(picture(0))))
        assert rgb.shape == (96, 128, 3)
        assert tuple(rgb[2, 2]) == colour

    def test_a_blurred_background_and_a_matte(self, client: httpx.Client) -> None:
        assert shown(client.post("/api/matte?bg=blur", content=png(picture(0)))).shape == (96, 128, 3)
        assert shown(client.post("/api/matte?matte_only=1", content=png(picture(0)))).shape == (96, 128)

    @pytest.mark.parametrize(
        ("body", "status", "word"),
        [
            (b"", 415, "no image"),
            (b"hello", 415, "no image"),
            (b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", 415, "no image"),
            (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "no image"),
            (b"\x89PNG\r\n\x1a\n" + bytes(50), 422, "damaged"),
            (b"\xff\xd8\xff" + bytes(500), 422, "damaged"),
            (b"\0\0\0\x18ftypmp42" + bytes(50), 415, "video"),
        ],
    )
    def test_what_is_no_photo(self, client: httpx.Client, body: bytes, status: int, word: str) -> None:
        refused(client.post("/api/matte", content=body), status, word)

    def test_a_photo_that_would_be_too_large(self, client: httpx.Client) -> None:
        refused(client.post("/api/matte", content=lying_png(60_000, 60_000)), 422, "megapixels")
        refused(client.post("/api/matte", content=lying_png(20_000, 20_000)), 422, "400 megapixels")

    def test_a_photo_that_is_too_small(self, client: httpx.Client) -> None:
        refused(client.post("/api/matte", content=png(picture(0)[:4, :4])), 422, "16x16")

    def test_a_body_that_is_too_large(self, live: LivePage, client: httpx.Client) -> None:
        """Refused by what it says of itself; and by what it is, if it says nothing."""
        assert status_of(live, "/api/matte", 2**40) == 413
        chunk = b"\xff\xd8\xff" + bytes(2**20)
        body = (chunk for _ in range(MAX_PHOTO_BYTES // 2**20 + 1))
        with suppress(httpx.WriteError, httpx.ReadError):  # Where the connection is cut while this is still sending.
            refused(client.post("/api/matte", content=body), 413, "too large")

    def test_a_background_that_is_a_path(self, client: httpx.Client) -> None:
        refused(client.post("/api/matte", params={"bg": "/etc/passwd"}, content=png(picture(0))), 422, "bg is")

    def test_a_form_without_the_field(self, client: httpx.Client) -> None:
        refused(client.post("/api/matte", files={"photo": png(picture(0))}), 422, '"file"')


def lying_png(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


class TestUploads:
    @pytest.fixture(autouse=True)
    def as_before(self, live: LivePage) -> Iterator[None]:
        yield
        live.controls.change(bg="#0000ff")

    def test_a_picture_becomes_a_background(
        self, live: LivePage, client: httpx.Client, temporary: Path, tmp_path: Path
    ) -> None:
        answer = client.post("/api/backgrounds", params={"name": "../my wall.png"}, content=png(picture(0)))
        assert answer.status_code == 201, answer.text
        identity = answer.json()["id"]
        listed = client.get("/api/state").json()["choices"]["backgrounds"]
        assert {"id": identity, "name": "my wall.png", "is_video": False} in listed
        assert client.post("/api/state", json={"bg": identity}).json()["settings"]["bg"] == identity
        path = Path(str(live.controls.current.composite.bg))
        assert path.is_relative_to(temporary) and "wall" not in path.name
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert shown(client.get("/api/thumbnail", params={"id": identity})).shape == (135, 240, 3)

    def test_a_video_is_written_anew(self, live: LivePage, client: httpx.Client, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mov", count=12)
        answer = client.post("/api/backgrounds", params={"name": "clip.mov"}, content=clip.path.read_bytes())
        assert answer.status_code == 201, answer.text
        client.post("/api/state", json={"bg": answer.json()["id"]})
        written = Path(str(live.controls.current.composite.bg))
        assert written.suffix == ".mp4"
        assert written.read_bytes() != clip.path.read_bytes()
        listed = client.get("/api/state").json()["choices"]["backgrounds"]
        assert {"id": answer.json()["id"], "name": "clip.mov", "is_video": True} in listed

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", 415),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
            (b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>", 415),
            (b"\x1a\x45\xdf\xa3<MPD dash:profile:isoff-on-demand", 415),
            (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska" + bytes(100), 422),
            (b"\0\0\0\x18ftypmp42" + bytes(500), 422),
            (b"GIF89a" + bytes(100), 422),
            (b"BM" + bytes(100), 422),
        ],
    )
    def test_lies(self, client: httpx.Client, temporary: Path, body: bytes, status: int) -> None:
        before = files_in(temporary)
        refused(client.post("/api/backgrounds", params={"name": "beach.jpg"}, content=body), status)
        assert files_in(temporary) == before

    def test_more_than_is_kept(self, live: LivePage, client: httpx.Client, temporary: Path) -> None:
        """The oldest goes, but not the one that is shown."""
        first = client.post("/api/backgrounds", content=png(picture(0))).json()["id"]
        client.post("/api/state", json={"bg": first})
        kept = [client.post("/api/backgrounds", content=png(picture(1))).json()["id"] for _ in range(MAX_KEPT)]
        listed = [one["id"] for one in client.get("/api/state").json()["choices"]["backgrounds"]]
        uploads = [identity for identity in listed if identity.startswith("upload/")]
        assert uploads == [first, *kept[1:]]
        assert len(files_in(temporary)) == MAX_KEPT

    def test_a_temporary_folder_that_was_cleaned_meanwhile(self, client: httpx.Client, temporary: Path) -> None:
        """An all-day run outlives its temporary files: systemd-tmpfiles, for one, removes old ones."""
        client.post("/api/backgrounds", content=png(picture(0)))
        for file in files_in(temporary):
            file.unlink()
        assert client.post("/api/backgrounds", content=png(picture(1))).status_code == 201
        for folder in temporary.iterdir():
            shutil.rmtree(folder)
        assert client.post("/api/matte", content=png(picture(1))).status_code == 200
        assert client.post("/api/backgrounds", content=png(picture(1))).status_code == 201
        (folder,) = temporary.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_another_folder_in_the_place_of_the_cleaned_one_is_not_used(
        self, client: httpx.Client, temporary: Path, tmp_path: Path
    ) -> None:
        (own,) = temporary.iterdir()
        shutil.rmtree(own)
        own.symlink_to(tmp_path, target_is_directory=True)
        assert client.post("/api/backgrounds", content=png(picture(1))).status_code == 201
        own.unlink()
        assert not list(tmp_path.iterdir())

    def test_one_that_is_chosen_while_another_arrives_is_kept(self, client: httpx.Client) -> None:
        kept = [client.post("/api/backgrounds", content=png(picture(1))).json()["id"] for _ in range(MAX_KEPT)]

        def body() -> Iterator[bytes]:
            yield png(picture(0))[:100]
            client.post("/api/state", json={"bg": kept[0]})
            yield png(picture(0))[100:]

        assert client.post("/api/backgrounds", content=body()).status_code == 201
        listed = [one["id"] for one in client.get("/api/state").json()["choices"]["backgrounds"]]
        assert kept[0] in listed and kept[1] not in listed

    def test_a_body_that_says_it_is_too_large(self, live: LivePage) -> None:
        assert status_of(live, "/api/backgrounds", MAX_VIDEO_BYTES + 1) == 413


def status_of(live: LivePage, path: str, length: int) -> int:
    """What a request is answered whose body is said to be of a length, and is not sent."""
    with socket.create_connection(("127.0.0.1", live.page.port), WAIT_SECONDS) as connection:
        lines = (f"POST {path}?token={TOKEN} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", "", "")
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.recv(12)[9:])


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class TestLimitedProcess:
    @pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are set on Linux alone")
    def test_it_is_limited(self) -> None:
        decoding = LimitedProcess()
        try:
            found = decoding.run(limits_of_process)
            # Whole seconds, of which one may end between what is set and what is seen.
            assert found.pop("seconds") in (limited.CPU_SECONDS - 1, limited.CPU_SECONDS)
            assert found == {
                "bytes of a file": limited.WRITTEN_BYTES,
                "files": limited.OPEN_FILES,
                "niceness": min(19, os.nice(0) + limited.NICENESS),
            }
            for task in (too_much_memory, too_much_written, the_end):
                with pytest.raises(InputError, match=r"too much memory or time|not enough memory"):
                    decoding.run(task)
            assert decoding.run(os.getpid) != os.getpid()
        finally:
            decoding.close()

    def test_what_takes_too_long(self) -> None:
        decoding = LimitedProcess(wall_seconds=0)
        try:
            with pytest.raises(InputError, match="more than 0 s"):
                decoding.run(wait_for_ever)
        finally:
            decoding.close()

    def test_a_large_picture_is_kept_smaller(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "x.png"), np.zeros((1000, 4000, 3), np.uint8))
        prepared = prepare_background(tmp_path / "x.png", tmp_path / "out")
        assert cv2.imread(str(prepared.path)).shape == (480, 1920, 3)

    def test_a_long_video_is_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limited, "VIDEO_SECONDS", 0.5)
        clip = write_clip(tmp_path / "x.mp4", count=24)
        prepared = prepare_background(clip.path, tmp_path / "out")
        with limited.open_source(str(prepared.path)) as source:
            assert len(list(source)) == 12

    def test_formats_are_told_by_content(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "x.mp4", count=2)
        assert suffix_of(clip.path) == ".mp4"
        for name in ("x.jpg", "x.png", "x.bmp", "x.tiff", "x.webp"):
            cv2.imwrite(str(tmp_path / name), picture(0))
            assert (suffix_of(tmp_path / name) or "").rstrip("f") == Path(name).suffix.rstrip("f")


def too_much_memory() -> int:
    return len(bytes(8 * 2**30))


def limits_of_process() -> dict[str, int]:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": resource.getrlimit(resource.RLIMIT_CPU)[0] - int(used.ru_utime + used.ru_stime),
        "bytes of a file": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "niceness": os.nice(0),
    }


def too_much_written() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(2**40)
    os._exit(0)


def the_end() -> None:
    os._exit(0)


def wait_for_ever() -> None:
    while True:
        pass


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """Threads and sockets go with the run, also while viewers are connected."""
    before = {thread.name for thread in threading.enumerate()}
    with LivePage() as live:
        viewer = socket.create_connection(("127.0.0.1", live.page.port))
        viewer.sendall(f"GET /feed.mjpeg?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert viewer.recv(12) == b"HTTP/1.1 200"
    with viewer:
        while viewer.recv(1 << 16):
            pass
    for thread in threading.enumerate():
        if thread.name.startswith("streamseg") and thread.name not in before:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive(), thread.name
