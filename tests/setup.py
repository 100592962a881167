"""Installs what tests run outside containers, as far as it is missing: `python -m tests.setup`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys

from devenv.doctor import apt, host, suites
from devenv.doctor.host import Host
from devenv.doctor.machine import Machine
from devenv.doctor.suites import Recipe
from devenv.errors import DevenvError
from devenv.tools import process, programs

PACKAGES = {
    "apache2-bin": "apache2",
    "chromium": "chromium",
    "chromium-driver": "chromedriver",
    "iproute2": "ip",
    "php8.2-cli": "php8.2",
    "php8.2-fpm": "php-fpm8.2",
    "php8.2-sqlite3": "",
    "procps": "ps",
    "slirp4netns": "slirp4netns",
    "sqlite3": "sqlite3",
    "tmux": "tmux",
}
"""Debian's package, and the program that is wanted of it, wherever it comes from."""
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


async def missing() -> tuple[str, ...]:
    sqlite = await _php_has_sqlite()
    return tuple(name for name, program in PACKAGES.items() if not (_there(program) if program else sqlite))


def _there(program: str) -> bool:
    """Servers are where a user's PATH often does not lead."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *SBIN))) is not None


async def _php_has_sqlite() -> bool:
    if not _there("php8.2"):
        return False
    asked = await process.run(["php8.2", "-m"], check=False)
    return "pdo_sqlite" in asked.stdout.split()


async def _go(machine: Host) -> Recipe:
    """As doctor installs it: Debian 12 has none that is new enough."""
    found = await programs.find(programs.GO)
    if (found is not None and found.fits) or not machine.distribution:
        return Recipe({}, ())
    return suites.recipe(machine, {"go"}, suites.sources(), apt.named(Machine()))


async def main() -> None:
    machine = host.look()
    go = await _go(machine)
    if not (packages := (*await missing(), *go.packages)):
        return
    if not machine.distribution:
        print(f"not Debian: tests that need what is in {', '.join(packages)} are skipped")
        return
    print(f"$ {' '.join(apt.install_argv(packages))}", flush=True)
    become = await host.become_root()
    if become is None:
        print("that needs root: until somebody installs them, tests that need them are skipped")
        return
    recipe = Recipe(go.files, packages)
    await apt.install(recipe, Machine(become), lambda text: print(f"    {text}", flush=True))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except DevenvError as error:
        sys.exit(f"{error.what}: {error.why}\n{error.log_tail}")
