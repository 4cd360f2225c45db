"""The virtual machine: QEMU without KVM, Debian's kernel, the host's files under a layer that is thrown away."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from pathlib import Path

from tests.vm.kernel import Kernel, Missing

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
CAMERA_MODULES = ("vivid", "uvcvideo", "videodev")
MEMORY_MIB = 1536
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check clocksource=hpet tsc=unstable"
"""The rate of the time stamp counter is measured at boot, wrongly where the host is busy: hours would fly."""
EXIT_LINE = "vmtest: exit "

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/usr/sbin:/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in {boot_modules}; do insmod /modules/$module; done
mkdir -p /host /over /root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
mount -t tmpfs tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root
for folder in dev proc sys; do mount --bind /$folder /root/$folder; done
mkdir -p /root/vm
mv /modules /root/vm/
cp /bin/busybox /root/vm/
cd /root
chroot . /bin/sh -c {command}
echo "{exit_line}$?"
sync
reboot -f
"""


def boot(kernel: Kernel, folder: Path, command: list[str], working: Path, seconds: float) -> int:
    """Run a command in the machine, in a folder of the host; print what it prints; return its exit status.

    The command finds the camera modules in /vm/modules, named in /vm/modules/order in the order of loading, the
    builds of v4l2loopback as /vm/modules/v4l2loopback-VERSION.ko, and busybox as /vm/busybox.

    Raises:
        Missing: the machine did not come to the end within `seconds`.
    """
    initramfs = _initramfs(kernel, folder, command, working)
    arguments = [
        "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MIB),
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
        "-kernel", str(kernel.image), "-initrd", str(initramfs),
        "-append", CMDLINE,
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
    ]  # fmt: skip
    status = None
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as machine:
        watchdog = threading.Timer(seconds, machine.kill)
        watchdog.start()
        try:
            assert machine.stdout
            for line in machine.stdout:
                if line.startswith(EXIT_LINE):
                    status = int(line.removeprefix(EXIT_LINE))
                else:
                    print(line, end="", flush=True)
        finally:
            watchdog.cancel()
            machine.kill()
    if status is None:
        raise Missing(f"the machine did not finish within {seconds:.0f} s")
    return status


def _initramfs(kernel: Kernel, folder: Path, command: list[str], working: Path) -> Path:
    """Pack busybox, the modules and the first program of the machine."""
    root = folder / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(kernel.busybox, root / "bin/busybox")
    boot_modules, cameras = (kernel.needed(*names) for names in (BOOT_MODULES, CAMERA_MODULES))
    for module in {*boot_modules, *cameras}:
        shutil.copy(module, root / "modules")
    (root / "modules/order").write_text("".join(f"{module.name}\n" for module in cameras))
    for version, module in kernel.loopbacks.items():
        shutil.copy(module, root / f"modules/v4l2loopback-{version}.ko")
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PYTHONPATH": str(working), "LC_ALL": "C.UTF-8",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    inside = shlex.join(["env", "-C", str(working), *(f"{name}={value}" for name, value in environment.items())])
    init = root / "init"
    init.write_text(
        INIT.format(
            boot_modules=" ".join(module.name for module in boot_modules),
            command=shlex.quote(f"exec {inside} {shlex.join(command)}"),
            exit_line=EXIT_LINE,
        )
    )
    init.chmod(0o755)
    archive = folder / "initramfs.cpio"
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with archive.open("wb") as file:
        subprocess.run(
            ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"], cwd=root, check=True, text=True,
            input=names, stdout=file,
        )  # fmt: skip
    return archive
