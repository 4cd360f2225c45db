"""Boot Debian's kernel in QEMU and test the cameras there: `python -m tests.vm` (`make vmtest`)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.vm.kernel import Missing, get_kernel
from tests.vm.machine import boot

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / ".vmtest"
GUEST = PROJECT / "tests/vm/guest.py"
TIMEOUT_SECONDS = 900.0


def main(arguments: list[str]) -> int:
    """Run the guest's tests, with further arguments of pytest; return their exit status."""
    started = time.monotonic()
    try:
        kernel = get_kernel(FOLDER)
        print(
            f"vmtest: {kernel.image.name}, v4l2loopback {' and '.join(kernel.loopbacks)}, "
            f"ready after {time.monotonic() - started:.1f} s",
            flush=True,
        )
        # The project's conftest imports torch, which nothing here needs and which takes minutes in the machine.
        options = [
            "--noconftest",
            "-c",
            "/dev/null",
            "--rootdir",
            str(PROJECT),
            "-p",
            "no:cacheprovider",
            "-v",
            "--color=no",
        ]
        command = [sys.executable, "-m", "pytest", *options, *arguments, str(GUEST)]
        status = boot(kernel, FOLDER, command, PROJECT, TIMEOUT_SECONDS)
    except Missing as error:
        print(f"vmtest: {error}", file=sys.stderr)
        return 2
    print(f"vmtest: exit status {status} after {time.monotonic() - started:.0f} s")
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
