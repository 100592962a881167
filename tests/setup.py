"""Installs what tests run outside containers, as far as it is missing: `python -m tests.setup`."""

from __future__ import annotations

import asyncio
import sys

from devenv.doctor import apt, host
from devenv.doctor.apt import Recipe
from devenv.errors import DevenvError
from devenv.tools import process

PACKAGES = (
    "apache2-bin",
    "chromium",
    "chromium-driver",
    "iproute2",
    "php8.2-cli",
    "php8.2-fpm",
    "php8.2-sqlite3",
    "procps",
    "sqlite3",
    "tmux",
)


async def missing() -> tuple[str, ...]:
    asked = await process.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES], check=False
    )
    there = {name for name, status in map(str.split, asked.stdout.splitlines()) if status == "installed"}
    return tuple(name for name in PACKAGES if name not in there)


async def main() -> None:
    machine = host.look()
    if not machine.distribution:
        print(f"not Debian: the tests need what these packages hold: {', '.join(PACKAGES)}")
        return
    if not (packages := await missing()):
        return
    print(f"$ {' '.join(apt.install_argv(packages))}", flush=True)
    become = await host.become_root()
    if become is None:
        sys.exit("that needs root: install them by hand, then try again")
    await apt.install(Recipe({}, packages), become, machine, lambda text: print(f"    {text}", flush=True))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except DevenvError as error:
        sys.exit(f"{error.what}: {error.why}\n{error.log_tail}")
