"""Programs of another architecture on this machine: qemu, and what tells the kernel of it (binfmt_misc).

docs.kernel.org/admin-guide/binfmt-misc; with Debian's binfmt-support, also where no service manager runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from devenv.doctor import running
from devenv.doctor.machine import Machine
from devenv.errors import DevenvError
from devenv.tools import docker, process

_KERNEL = Path("/proc/sys/fs/binfmt_misc")
_NAMES = {"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}
"""What Debian calls its emulators."""


def argvs(architectures: Iterable[str], *, mounted: bool) -> list[list[str]]:
    """The commands that have the kernel run what is installed."""
    mount = [["mount", "-t", "binfmt_misc", "binfmt_misc", str(_KERNEL)]]
    enable = [["update-binfmts", "--enable", _NAMES[one]] for one in architectures]
    return [*(() if mounted else mount), *enable]


def is_mounted() -> bool:
    return (_KERNEL / "register").exists()


def kernel_has(architecture: str, kernel: Path = _KERNEL) -> bool:
    """Whether this machine's kernel runs its programs by an emulator, also in containers (flag F)."""
    with suppress(OSError):
        text = (kernel / _NAMES[architecture]).read_text()
        return text.startswith("enabled") and bool(re.search(r"^flags:.*F", text, re.MULTILINE))
    return False


def told(architectures: Iterable[str], become: Sequence[str]) -> tuple[str, ...]:
    """What `enable` does, a line each."""
    return tuple(shlex.join([*become, *argv]) for argv in argvs(architectures, mounted=is_mounted()))


async def enable(architectures: Sequence[str], machine: Machine) -> str:
    """Returns once the engine runs programs of these architectures."""
    mounted = is_mounted()
    record = machine.recorded()
    await machine.keep(
        replace(
            record,
            emulators=tuple(sorted({*record.emulators, *(_NAMES[one] for one in architectures)})),
            mounted=record.mounted if mounted else running.boot(),
        )
    )
    for argv in argvs(architectures, mounted=mounted):
        await process.run([*machine.become, *argv], timeout=30)
    runs = await docker.platforms()
    if missing := [one for one in architectures if f"linux/{one}" not in runs]:
        raise DevenvError(
            f"the container engine still runs nothing of {', '.join(missing)}",
            f"the kernel of this machine has its emulator, see {_KERNEL}",
            "start the engine again; one on another machine needs qemu there",
        )
    return ", ".join(architectures)


def disabling(emulators: Iterable[str], *, mounted: bool, kernel: Path = _KERNEL) -> list[list[str]]:
    """The commands that take `enable` back, as far as it is in force. `mounted`: by devenv, in this boot."""
    there = [["update-binfmts", "--disable", one] for one in emulators if (kernel / one).exists()]
    return [*there, *([["umount", str(kernel)]] if mounted and (kernel / "register").exists() else ())]
