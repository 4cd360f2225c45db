"""`streamseg doctor`: what it finds on machines that lack something, and the command that it gives for it."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from streamseg.decode.cameras import CameraDevice
from streamseg.decode.modes import Mode
from streamseg.decode.v4l2 import NO_PERMISSION
from streamseg.doctor import encoders, hardware, software
from streamseg.doctor.cameras import check_cameras
from streamseg.doctor.checks import CHECKS
from streamseg.doctor.display import check_display
from streamseg.doctor.encoders import check_encoders
from streamseg.doctor.engines import calls_per_second, check_engine, check_live
from streamseg.doctor.examine import Check, examine
from streamseg.doctor.finding import Finding
from streamseg.doctor.hardware import check_gpu, check_memory, check_processor
from streamseg.doctor.machine import Machine, pip_install
from streamseg.doctor.report import show
from streamseg.doctor.software import check_extras, check_packages, check_python, satisfies
from streamseg.doctor.storage import check_cache, check_temporary, check_weights
from streamseg.doctor.virtual_camera import check_virtual_camera
from streamseg.errors import EngineError
from streamseg.infer.engines import AUTO_ENGINES
from streamseg.infer.select import EngineChoice
from streamseg.model.weights import RegistryEntry
from streamseg.settings import InferSettings
from streamseg.sink import formats
from tests.synthetic import DiscEngine, picture
from tests.test_cli import streamseg

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class FakeLinux:
    """Files of a Linux machine in a folder, and what opening its devices does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refusals: dict[str, OSError] = {}
        self.write("etc/os-release", "ID=debian\n")
        self.environ: dict[str, str] = {}

    @property
    def machine(self) -> Machine:
        return Machine("linux", self.root, self.environ, "6.1.0-fake", self.open)

    def with_cameras(self, *cameras: CameraDevice, holders: Sequence[str] = ()) -> Machine:
        return replace(self.machine, cameras=lambda: list(cameras), holders=lambda device: list(holders))

    def open(self, device: Path) -> None:
        if device.name in self.refusals:
            raise self.refusals[device.name]

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def device(self, node: str, label: str) -> None:
        self.write(f"sys/devices/virtual/video4linux/{node}/name", f"{label}\n")
        self.write(f"dev/{node}")

    def loopback(self, version: str = "0.15.0", exclusive: str = "Y,N,N,N") -> None:
        self.write("sys/module/v4l2loopback/version", f"{version}\n")
        self.write("sys/module/v4l2loopback/parameters/exclusive_caps", f"{exclusive}\n")


@pytest.fixture
def linux(tmp_path: Path) -> FakeLinux:
    return FakeLinux(tmp_path)


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


class TestExamine:
    @pytest.mark.parametrize("error", [ValueError("no\nsense"), ImportError("libx.so"), SystemExit(3), OSError()])
    @pytest.mark.parametrize("essential", [False, True])
    def test_a_check_that_fails_is_a_finding(self, error: BaseException, essential: bool) -> None:
        def fail(machine: Machine) -> Iterator[Finding]:
            yield Finding("first", "ok", "was found before")
            raise error

        first, failed = examine([Check("x", fail, essential)], Machine())
        assert first.name == "first"
        assert (failed.name, failed.status) == ("x", "problem" if essential else "warning")
        assert failed.detail.startswith(f"this check failed: {type(error).__name__}")
        assert "\n" not in failed.detail

    def test_a_check_that_hangs_is_left_behind(self) -> None:
        freed = threading.Event()

        def hang(machine: Machine) -> Iterator[Finding]:
            yield Finding("first", "ok", "was found before")
            freed.wait()

        begun: list[str] = []
        checks = [Check("stuck", hang, limit_seconds=1.0), Check("next", lambda machine: [])]
        first, stuck = examine(checks, Machine(), begun.append)
        freed.set()
        assert (first.status, stuck.name, stuck.status) == ("ok", "stuck", "warning")
        assert "may hang" in stuck.detail
        assert begun == ["stuck", "next"]

    def test_every_check_has_its_name(self) -> None:
        assert len({check.name for check in CHECKS}) == len(CHECKS)
        assert {f"engine {name}" for name in AUTO_ENGINES} <= {check.name for check in CHECKS}


class TestMachine:
    @pytest.mark.parametrize(
        ("release", "manager"),
        [
            ("ID=debian", "apt"),
            ('ID=linuxmint\nID_LIKE="ubuntu debian"', "apt"),
            ("ID=fedora", "dnf"),
            ('ID="rocky"\nID_LIKE="rhel centos fedora"', "dnf"),
            ("ID=arch", "pacman"),
            ("ID=manjaro\nID_LIKE=arch", "pacman"),
            ("ID=gentoo", ""),
            ("", ""),
        ],
    )
    def test_package_managers_of_linux(self, linux: FakeLinux, release: str, manager: str) -> None:
        linux.write("etc/os-release", f"# a comment\n{release}\n")
        assert linux.machine.package_manager() == manager

    @pytest.mark.parametrize(("platform", "manager"), [("darwin", "brew"), ("win32", "winget"), ("freebsd14", "")])
    def test_package_managers_of_others(self, platform: str, manager: str) -> None:
        assert Machine(platform).package_manager() == manager

    def test_packages_go_beside_streamseg(self) -> None:
        assert re.fullmatch(r'(python|".*") -m pip install "a>=1" "b"', pip_install("a>=1", "b"))


HD = (Mode("mjpeg", 1280, 720, (Fraction(30),)), Mode("yuyv422", 640, 480, (Fraction(30),)))
WEBCAM = CameraDevice("HD Webcam", "/dev/video0", 0, "uvcvideo", HD)
LOOPBACK = CameraDevice("streamseg", "/dev/video4", 4, "v4l2 loopback", HD)
FORBIDDEN = CameraDevice("Other Cam", "/dev/video2", 2, "", note=NO_PERMISSION)


class TestCameras:
    @pytest.mark.parametrize("release", ["debian", "fedora", "arch", "gentoo"])
    def test_none(self, linux: FakeLinux, release: str) -> None:
        linux.write("etc/os-release", f"ID={release}")
        finding = only(check_cameras(linux.with_cameras(LOOPBACK)))
        assert finding.status == "warning"
        assert "lsusb  #" in finding.remedy
        assert ("install usbutils" in finding.remedy) == (release in ("debian", "fedora"))
        assert "--camera talk.mp4" in finding.remedy

    @pytest.mark.parametrize(
        ("platform", "remedy"), [("darwin", "Privacy_Camera"), ("win32", "ms-settings:privacy-webcam")]
    )
    def test_none_on_other_systems(self, platform: str, remedy: str) -> None:
        assert remedy in only(check_cameras(Machine(platform, cameras=list))).remedy

    def test_the_mode_that_it_would_be_opened_in(self, linux: FakeLinux) -> None:
        finding = only(check_cameras(linux.with_cameras(WEBCAM, LOOPBACK)))
        assert finding == Finding("camera 0", "ok", "HD Webcam (/dev/video0), 1280x720 at 30 fps, MJPEG")

    def test_no_permission(self, linux: FakeLinux) -> None:
        finding = only(check_cameras(linux.with_cameras(FORBIDDEN)))
        assert (finding.status, finding.name) == ("problem", "camera 2")
        assert finding.remedy.startswith('sudo usermod -aG video "$USER"')
        assert [found.status for found in check_cameras(linux.with_cameras(FORBIDDEN, WEBCAM))] == ["warning", "ok"]

    def test_in_use_and_by_whom(self, linux: FakeLinux) -> None:
        finding = only(check_cameras(linux.with_cameras(WEBCAM, holders=["firefox", "zoom"])))
        assert (finding.status, finding.detail) == ("warning", "HD Webcam (/dev/video0) is in use by firefox, zoom")
        assert finding.remedy.startswith("# close firefox, zoom")

    def test_no_format_that_is_read(self, linux: FakeLinux) -> None:
        camera = replace(WEBCAM, modes=(Mode("Y16 ", 640, 480),))
        finding = only(check_cameras(linux.with_cameras(camera)))
        assert (finding.status, "--camera talk.mp4" in finding.remedy) == ("problem", True)

    def test_this_machine_answers(self) -> None:
        assert all(finding.name.startswith("camera") for finding in check_cameras(Machine()))


LOAD = "sudo modprobe v4l2loopback exclusive_caps=1"


class TestLoopback:
    @pytest.mark.parametrize(
        ("release", "remedy"),
        [
            ("ID=debian", "sudo apt install v4l2loopback-dkms"),
            ("ID=fedora", "sudo dnf install akmod-v4l2loopback"),
            ("ID=arch", "sudo pacman -S v4l2loopback-dkms"),
            ("ID=gentoo", "# install the kernel module v4l2loopback"),
        ],
    )
    def test_not_installed(self, linux: FakeLinux, release: str, remedy: str) -> None:
        linux.write("etc/os-release", release)
        finding = only(check_virtual_camera(linux.machine))
        assert finding.status == "warning"
        assert remedy in finding.remedy
        assert finding.remedy.splitlines()[-1].startswith(LOAD)

    def test_not_loaded(self, linux: FakeLinux) -> None:
        linux.write("lib/modules/6.1.0-fake/modules.dep", "updates/dkms/v4l2loopback.ko.xz: kernel/videodev.ko\n")
        finding = only(check_virtual_camera(linux.machine))
        assert "not loaded" in finding.detail
        assert finding.remedy.startswith(LOAD)

    def test_without_a_device(self, linux: FakeLinux) -> None:
        linux.loopback()
        finding = only(check_virtual_camera(linux.machine))
        assert "no device" in finding.detail
        assert finding.remedy.startswith(f"sudo modprobe -r v4l2loopback && {LOAD}")

    def test_it_is_ready(self, linux: FakeLinux) -> None:
        linux.loopback()
        linux.device("video4", "streamseg")
        finding = only(check_virtual_camera(linux.machine))
        assert finding == Finding("virtual camera", "ok", "streamseg, /dev/video4, v4l2loopback 0.15.0")

    def test_what_an_old_one_does_less_well(self, linux: FakeLinux) -> None:
        linux.loopback("0.12.7")
        linux.device("video4", "streamseg")
        finding = only(check_virtual_camera(linux.machine))
        assert finding.status == "ok"
        assert "0.13 and newer tell --on-demand" in finding.detail

    def test_browsers_would_not_list_it(self, linux: FakeLinux) -> None:
        linux.loopback(exclusive="N,N,N")
        linux.device("video4", "streamseg")
        finding, device = check_virtual_camera(linux.machine)
        assert (finding.status, device.status) == ("warning", "ok")
        assert finding.remedy.startswith(f"sudo modprobe -r v4l2loopback && {LOAD}")

    @pytest.mark.parametrize(
        ("error", "remedy"),
        [
            (PermissionError(errno.EACCES, "No"), "sudo usermod -aG video"),
            (OSError(errno.EBUSY, "Busy"), "modprobe -r"),
        ],
    )
    def test_it_does_not_open(self, linux: FakeLinux, error: OSError, remedy: str) -> None:
        linux.loopback()
        linux.device("video4", "streamseg")
        linux.refusals["video4"] = error
        finding = only(check_virtual_camera(linux.machine))
        assert finding.status == "warning"
        assert remedy in finding.remedy


class FakeObsCamera:
    """What pyvirtualcam opens where OBS is installed."""

    device = "OBS Virtual Camera"

    def __init__(self, *size_and_rate: int) -> None:
        pass

    def __enter__(self) -> FakeObsCamera:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def refuse_camera(*_: object) -> None:
    raise RuntimeError("'obs' backend: OBS Virtual Camera is not installed\n'unity' backend: none")


@pytest.mark.parametrize(
    ("platform", "install"), [("darwin", "brew install --cask obs"), ("win32", "winget install OBSProject.OBSStudio")]
)
class TestObs:
    def pyvirtualcam(self, monkeypatch: pytest.MonkeyPatch, camera: object, version: str) -> None:
        module = SimpleNamespace(Camera=camera, __version__=version)
        monkeypatch.setitem(sys.modules, "pyvirtualcam", module)  # type: ignore[arg-type]

    def test_without_the_package(self, platform: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyvirtualcam", None)  # type: ignore[arg-type]
        finding = only(check_virtual_camera(Machine(platform)))
        assert finding.status == "warning"
        assert '-m pip install "pyvirtualcam>=0.14"' in finding.remedy
        assert install in finding.remedy

    def test_without_obs(self, platform: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pyvirtualcam(monkeypatch, refuse_camera, "0.14.0")
        finding = only(check_virtual_camera(Machine(platform)))
        assert finding.detail.endswith("OBS Virtual Camera is not installed; 'unity' backend: none")
        assert finding.remedy.startswith(install)

    def test_a_package_too_old_for_the_camera_extension(
        self, platform: str, install: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.pyvirtualcam(monkeypatch, refuse_camera, "0.13.1")
        assert ("pyvirtualcam>=0.14" in only(check_virtual_camera(Machine(platform))).remedy) == (platform == "darwin")

    def test_it_is_ready(self, platform: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pyvirtualcam(monkeypatch, FakeObsCamera, "0.14.0")
        finding = only(check_virtual_camera(Machine(platform)))
        assert (finding.status, finding.detail) == ("ok", "OBS Virtual Camera, through pyvirtualcam 0.14.0")


class TestEncoders:
    def test_all_open(self) -> None:
        finding = only(check_encoders(Machine()))
        assert finding.status == "ok"
        names = {"libx264", "libx265", "libvpx-vp9", "prores_aw", "prores_ks", "ffv1", "libopus", "aac", "flac"}
        assert set(finding.detail.split(", ")) == names

    @pytest.mark.parametrize("status", ["warning", "problem"])
    def test_one_that_is_missing(self, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
        missing = replace(formats.WITH_ALPHA[".mkv"], codec="of_no_such_maker")
        monkeypatch.setitem(formats.WITH_ALPHA, ".mkv", missing)
        if status == "problem":
            monkeypatch.setattr(encoders, "DEFAULT_CODEC", "of_no_such_maker")
        finding, others = check_encoders(Machine())
        assert (finding.name, finding.status, others.status) == ("encoder of_no_such_maker", status, "ok")
        assert finding.detail.endswith("for .mkv with alpha")
        requirement = next(line for line in PYPROJECT["dependencies"] if line.startswith("av"))
        assert f'-m pip install "{requirement}" --force-reinstall' in finding.remedy


class TestDisplay:
    @pytest.fixture(autouse=True)
    def qt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cv2.currentUIFramework", lambda: "QT")

    def test_none(self, linux: FakeLinux) -> None:
        finding = only(check_display(linux.machine))
        assert finding.status == "warning"
        assert finding.remedy.startswith("streamseg webcam --out http")

    @pytest.mark.parametrize("display", [":7", ":7.0", "unix:7"])
    def test_an_x_server(self, linux: FakeLinux, display: str) -> None:
        linux.environ["DISPLAY"] = display
        finding = only(check_display(linux.machine))
        assert finding.detail == f"no display server answers at DISPLAY={display}: no --out window"
        linux.write("tmp/.X11-unix/X7")
        assert only(check_display(linux.machine)).status == "ok"

    def test_wayland(self, linux: FakeLinux) -> None:
        linux.environ |= {"WAYLAND_DISPLAY": "wayland-0", "XDG_RUNTIME_DIR": str(linux.root / "run")}
        assert only(check_display(linux.machine)).status == "warning"
        linux.write("run/wayland-0")
        assert only(check_display(linux.machine)).status == "ok"

    def test_through_ssh(self, linux: FakeLinux) -> None:
        linux.environ["DISPLAY"] = "localhost:10.0"
        assert only(check_display(linux.machine)).status == "ok"

    @pytest.mark.parametrize("platform", ["darwin", "win32"])
    def test_other_systems(self, platform: str) -> None:
        assert only(check_display(Machine(platform, environ={}))).status == "ok"

    def test_opencv_without_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cv2.currentUIFramework", lambda: "")
        finding = only(check_display(Machine("darwin")))
        assert finding.status == "warning"
        assert '"opencv-python" --force-reinstall' in finding.remedy


class TestHardware:
    def test_processor(self, linux: FakeLinux, monkeypatch: pytest.MonkeyPatch) -> None:
        linux.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast One\n")
        monkeypatch.setattr("streamseg.hardware.cpu.cores", lambda: 4)
        monkeypatch.setattr("streamseg.hardware.cpu.multiplies_int8", lambda: True)
        assert only(check_processor(linux.machine)).detail == "Fast One, 4 cores, int8 instructions"
        monkeypatch.setattr("streamseg.hardware.cpu.multiplies_int8", lambda: False)
        assert "float32" in only(check_processor(linux.machine)).detail

    @pytest.mark.parametrize(("free_kb", "status"), [(8_000_000, "ok"), (500_000, "warning")])
    def test_memory(self, linux: FakeLinux, free_kb: int, status: str) -> None:
        linux.write("proc/meminfo", f"MemTotal: 16000000 kB\nMemAvailable: {free_kb} kB\n")
        finding = only(check_memory(linux.machine))
        assert (finding.status, "of 16.4 GB" in finding.detail) == (status, True)
        assert bool(finding.remedy) == (status == "warning")

    def test_memory_where_the_system_tells_only_its_size(self, tmp_path: Path) -> None:
        assert only(check_memory(Machine("darwin", tmp_path))).status == "ok"

    def test_no_gpu(self, linux: FakeLinux, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert only(check_gpu(linux.machine)).status == "ok"

    @pytest.mark.parametrize(
        ("platform", "cuda", "remedy"),
        [("linux", None, hardware.CUDA_ON_LINUX), ("win32", None, "pytorch.org"), ("linux", "12.6", "nvidia-smi")],
    )
    def test_a_gpu_that_is_not_used(
        self, platform: str, cuda: str | None, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.version.cuda", cuda)
        monkeypatch.setattr("streamseg.doctor.hardware.shutil.which", lambda name, path: f"{path}/{name}")
        finding = only(check_gpu(Machine(platform, tmp_path, {"PATH": "/usr/bin"})))
        assert finding.status == "warning"
        assert remedy in finding.remedy

    def test_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        facts = SimpleNamespace(name="NVIDIA X", total_memory=24_000_000_000)
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: facts)
        monkeypatch.setattr("streamseg.sink.encoder.NVENC", "h264_of_no_such_maker")
        gpu, video = check_gpu(Machine())
        assert gpu.detail.startswith("NVIDIA X, 24 GB")
        assert video.detail.endswith("NVENC does not open, so that the processor encodes")


class TestSoftware:
    def test_python(self) -> None:
        assert sys.executable in only(check_python(Machine())).detail

    @pytest.mark.parametrize(
        ("installed", "requirement", "fits"),
        [
            ("18.1.0", "av>=18,<19", True),
            ("19.0", "av<19,>=18", False),
            ("17.9", "av>=18,<19", False),
            ("18", "av>=18.0", True),
            ("2.13.0+cpu", "torch>=2.6", True),
            ("4.0.0rc1", "x>=4", True),
            ("1.0", "x", True),
            ("of unknown version", "x>=0.13", False),
        ],
    )
    def test_bounds(self, installed: str, requirement: str, fits: bool) -> None:
        assert satisfies(installed, requirement) == fits

    def test_what_is_required_is_there(self) -> None:
        finding = only(check_packages(Machine()))
        assert finding.status == "ok"
        assert "torch 2." in finding.detail

    @pytest.mark.parametrize(
        ("requirement", "detail"), [("no-such-package>=1", "not installed"), ("numpy>=99", "numpy>=99 is required")]
    )
    def test_a_package_that_is_missing_or_old(
        self, requirement: str, detail: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(software, "requires", lambda _: [requirement, 'ruff>=99; extra == "dev"'])
        finding = only(check_packages(Machine()))
        assert finding.status == "problem"
        assert detail in finding.detail
        assert finding.remedy.endswith(f'-m pip install "{requirement}"')

    @pytest.mark.parametrize(
        ("manager", "remedy"), [("debian", "sudo apt install libgl1"), ("void", "--force-reinstall")]
    )
    def test_a_library_that_opencv_misses(
        self, manager: str, remedy: str, linux: FakeLinux, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        linux.write("etc/os-release", f"ID={manager}")
        linux.write("modules/cv2_broken.py", "raise ImportError('libGL.so.1: cannot open shared object file')")
        monkeypatch.syspath_prepend(linux.root / "modules")
        monkeypatch.setitem(software.MODULES, "opencv-python", "cv2_broken")
        monkeypatch.setattr(software, "requires", lambda _: ["opencv-python>=4"])
        finding = only(check_packages(linux.machine))
        assert (finding.status, "libGL.so.1" in finding.detail) == ("problem", True)
        assert remedy in finding.remedy

    def test_not_installed_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str) -> None:
            raise software.PackageNotFoundError(name)

        monkeypatch.setattr(software, "requires", refuse)
        finding = only(check_packages(Machine()))
        assert (finding.status, finding.remedy.endswith('install "."')) == ("warning", True)

    def test_extras_are_those_of_the_package(self) -> None:
        """The extra `serve` is on its way."""
        for extra, lines in PYPROJECT["optional-dependencies"].items():
            if extra not in ("train", "dev"):
                assert list(software.EXTRAS[extra][0]) == [re.split(r"[>=<]", line)[0] for line in lines]

    def test_extras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        extras = {"a": (("numpy",), "one thing"), "b": (("numpy", "no-such-package"), "another")}
        monkeypatch.setattr(software, "EXTRAS", extras)
        there, missing = check_extras(Machine())
        assert there.detail.startswith("numpy ")
        assert missing.detail == "not installed, for another"
        assert missing.remedy.endswith('-m pip install "no-such-package"')

    def test_an_extra_that_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(software, "EXTRAS", {"a": (("numpy",), "one thing")})
        monkeypatch.setitem(software.MODULES, "numpy", "no_such_module")
        finding = only(check_extras(Machine()))
        assert (finding.status, "--force-reinstall" in finding.remedy) == ("warning", True)

    @pytest.mark.parametrize(("platform", "is_told"), [("linux", False), ("darwin", True), ("win32", True)])
    def test_what_linux_does_not_need(self, platform: str, is_told: bool) -> None:
        assert ("extra virtualcam" in [found.name for found in check_extras(Machine(platform))]) == is_told


class TestStorage:
    def entry(self, folder: Path, name: str, text: str, url: str = "") -> RegistryEntry:
        file = folder / "streamseg" / "model" / "files" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        whole = "2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df"  # of the text "ok"
        return RegistryEntry(name, "Apache-2.0", "", str(file), whole, url)

    def test_those_that_are_packaged(self) -> None:
        finding = only(check_weights(Machine()))
        assert finding.status == "ok"
        assert re.search(r"lite [0-9a-f]{8}.* nano [0-9a-f]{8}", finding.detail)

    @pytest.mark.parametrize(
        ("name", "url", "status", "remedy"),
        [
            ("nano-int8", "", "problem", "--force-reinstall --no-deps"),
            ("u2netp", "", "warning", "--force-reinstall --no-deps"),
            ("full", "https://example.org/x", "warning", "streamseg weights download full"),
        ],
    )
    def test_damaged_ones(
        self, name: str, url: str, status: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entries = [self.entry(tmp_path, name, "damaged", url), self.entry(tmp_path, "lite", "ok")]
        monkeypatch.setattr("streamseg.model.weights.list_weights", lambda: entries)
        damaged, whole = check_weights(Machine())
        assert (damaged.name, damaged.status, whole.detail) == (
            f"weights {name}",
            status,
            "sha256 as known: lite 2689367b",
        )
        assert remedy in damaged.remedy

    def test_missing_ones_of_a_checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = self.entry(tmp_path, "lite", "ok")
        entry.path.unlink()
        (tmp_path / ".git").mkdir()
        monkeypatch.setattr("streamseg.model.weights.list_weights", lambda: [entry])
        finding = only(check_weights(Machine()))
        assert finding.status == "problem"
        assert finding.remedy == f'git -C "{tmp_path}" checkout -- "streamseg/model/files/lite.safetensors"'

    def test_what_was_not_downloaded_is_not_missed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = self.entry(tmp_path, "full", "ok", "https://example.org/x")
        entry.path.unlink()
        monkeypatch.setattr("streamseg.model.weights.list_weights", lambda: [entry])
        assert list(check_weights(Machine())) == []

    @pytest.mark.parametrize(("platform", "remedy"), [("linux", "sudo chown"), ("win32", "# delete")])
    def test_cache(self, platform: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert only(check_cache(Machine(platform))).status == "ok"
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        finding = only(check_cache(Machine(platform)))
        assert finding.status == "warning"
        assert remedy in finding.remedy

    @pytest.mark.parametrize(
        ("free", "platform", "status", "remedy"),
        [(5e9, "linux", "ok", ""), (1e8, "linux", "warning", "TMPDIR"), (1e8, "win32", "warning", "TEMP")],
    )
    def test_temporary_files(
        self, free: float, platform: str, status: str, remedy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamseg.doctor.storage.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
        finding = only(check_temporary(Machine(platform)))
        assert finding.status == status
        assert finding.remedy.endswith(remedy)


class TestEngines:
    def test_speed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = iter(i / 4 for i in range(100))
        assert calls_per_second(DiscEngine(), picture(0)[None], lambda: next(times)) == 4

    def test_a_call_that_takes_longer_than_the_test(self) -> None:
        times = iter([0.0, 5.0])
        assert calls_per_second(DiscEngine(), picture(0)[None], lambda: next(times)) == pytest.approx(0.2)

    def test_it_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[InferSettings] = []
        monkeypatch.setattr(
            "streamseg.infer.engines.load_engine", lambda settings: asked.append(settings) or DiscEngine()
        )
        monkeypatch.setattr("streamseg.doctor.engines.TEST_SECONDS", 0.0001)
        finding = only(check_engine("torch")(Machine()))
        assert (finding.name, finding.status) == ("engine torch", "ok")
        assert re.fullmatch(r"[0-9.]+ calls a second of lite at 1280x720, on \w+", finding.detail)
        assert [settings.engine for settings in asked] == ["torch"]

    @pytest.mark.parametrize(
        ("reason", "status", "detail"),
        [
            ("onnx is not installed: pip install 'streamseg[onnx]'", "ok", "onnx is not installed"),
            ("DLL load failed", "warning", "DLL load failed"),
        ],
    )
    def test_one_that_does_not_open(
        self, reason: str, status: str, detail: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(settings: InferSettings) -> None:
            raise EngineError(f"no inference engine opens: onnx: {reason}")

        monkeypatch.setattr("streamseg.infer.engines.load_engine", refuse)
        finding = only(check_engine("onnx")(Machine()))
        assert (finding.status, finding.detail) == (status, detail)
        assert '-m pip install "onnx" "onnxruntime"' in finding.remedy

    def test_what_auto_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choice = EngineChoice(InferSettings(), DiscEngine(), "nano: 12 ms a frame")
        monkeypatch.setattr("streamseg.infer.select.engine_for", lambda settings, info: choice)
        assert only(check_live(Machine())).detail.endswith("for a webcam at 1280x720, 30 fps: nano: 12 ms a frame")


LONG_COMMAND = "sudo " + "x" * 100


class TestReport:
    @pytest.fixture
    def found(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Set the findings of the command."""

        def set_findings(*findings: Finding) -> None:
            monkeypatch.setattr("streamseg.doctor.checks.CHECKS", [Check("fake", lambda machine: findings)])

        return set_findings

    def test_lines_fit_and_commands_stay_whole(self) -> None:
        screen = io.StringIO()
        show(Finding("name", "warning", "word " * 40, f"{LONG_COMMAND}\nsecond"), Console(file=screen, width=80))
        first, *others = screen.getvalue().splitlines()
        assert first.startswith("warning  name              word")
        assert f"         {LONG_COMMAND}" in others
        assert others[-1] == "         second"
        assert all(len(line) <= 80 for line in [first, *others] if LONG_COMMAND not in line)

    @pytest.mark.parametrize(
        ("status", "code", "verdict"),
        [
            ("ok", 0, "streamseg runs here: 0 problems, 0 warnings"),
            ("warning", 0, "streamseg runs here: 0 problems, 1 warning"),
            ("problem", 1, "streamseg would not run as it should: 1 problem, 0 warnings"),
        ],
    )
    def test_the_command(self, status: str, code: int, verdict: str, found: Callable[..., None]) -> None:
        found(Finding("thing", status, "what is there", "mend it"), Finding("other", "ok", "fine"))  # type: ignore[arg-type]
        result = streamseg("doctor")
        assert result.exit_code == code
        assert re.search(rf"^{status} +thing +what is there", result.stdout)
        assert "         mend it" in result.stdout.splitlines()
        assert result.stdout.splitlines()[-1] == verdict
        assert result.stderr == ""

    @pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
    def test_json(self, status: str, code: int, found: Callable[..., None]) -> None:
        found(Finding("thing", status, "what is there", "mend it"))  # type: ignore[arg-type]
        result = streamseg("doctor", "--json")
        told = json.loads(result.stdout)
        assert result.exit_code == code
        assert told.keys() == {"version", "would_run", "findings"}
        assert told["would_run"] == (code == 0)
        assert told["findings"] == [{"name": "thing", "status": status, "detail": "what is there", "remedy": "mend it"}]

    def test_nothing_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every check fails where no package of ours can be imported; the report comes all the same."""

        def fail(machine: Machine) -> Iterator[Finding]:
            raise ImportError("No module named 'torch'")

        monkeypatch.setattr("streamseg.doctor.checks.CHECKS", [replace(check, find=fail) for check in CHECKS])
        result = streamseg("doctor")
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert result.stdout.count("this check failed") == len(CHECKS)

    def test_the_checks_can_be_loaded_without_heavy_packages(self) -> None:
        """They tell which packages are broken, so that they must not need them at the top of a file."""
        heavy = ("av", "cv2", "torch", "openvino", "numpy", "safetensors", "pydantic")
        for path in Path(software.__file__).parent.glob("*.py"):
            imports = re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert not {name for name in imports if name in heavy}, path


def test_a_machine_is_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = tmp_path / "video0"
    with pytest.raises(FileNotFoundError):
        Machine().open_device(device)
    device.write_text("")
    Machine().open_device(device)
    monkeypatch.setenv("DISPLAY", ":5")
    assert Machine().environ["DISPLAY"] == ":5"
