"""What kind of machine this is, as far as the mends differ by it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devenv.tools import process

Distribution = Literal["debian", "ubuntu", ""]

_KNOWN: tuple[Distribution, ...] = ("debian", "ubuntu")
_SBIN = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
"""Where the engine is, though a user's PATH often lacks it."""


@dataclass(frozen=True, slots=True)
class Host:
    mac: bool = False
    distribution: Distribution = ""
    """The one whose packages fit, where apt is there; also of its derivatives."""
    codename: str = ""
    managed: bool = False
    """A service manager runs, and starts what is installed."""
    dockerd: str = ""
    """The path of the engine; empty: it is not installed."""
    docker_ce: bool = False
    """The engine is of Docker's own packages, which go by other names than Debian's."""
    elsewhere: str = ""
    """What points the docker command to an engine that is not this machine's own."""
    mmdebstrap: bool = False


def look() -> Host:
    release = _os_release()
    apt = shutil.which("apt-get") is not None
    return Host(
        mac=platform.system() == "Darwin",
        distribution=distribution(release) if apt else "",
        codename=release.get("VERSION_CODENAME", ""),
        managed=Path("/run/systemd/system").is_dir(),
        dockerd=shutil.which("dockerd", path=os.environ.get("PATH", "") + os.pathsep + _SBIN) or "",
        docker_ce=Path("/var/lib/dpkg/info/docker-ce.list").exists(),
        elsewhere=_elsewhere(),
        mmdebstrap=shutil.which("mmdebstrap") is not None,
    )


def distribution(release: Mapping[str, str]) -> Distribution:
    """Of the values of os-release."""
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((known for name in names for known in _KNOWN if name == known), "")


async def become_root() -> tuple[str, ...] | None:
    """What to put before a command that needs root; None where one cannot be root without being asked."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") is None:
        return None
    allowed = await process.run(["sudo", "-n", "true"], check=False, timeout=10)
    return ("sudo", "-n") if allowed.code == 0 else None


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _elsewhere() -> str:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if value := os.environ.get(name):
            return f"{name}={value}"
    return ""
