"""The entry point. What needs no import beyond this file is answered without any."""

from __future__ import annotations

import os
import signal
import sys

from devenv import __version__


def main() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"devenv {__version__}")
        return
    # Looking through all installed packages for plugins, which we have none of, is what pydantic does first.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Imported late: the command line and what is behind it take longer than the answer above.
    from devenv.cli.app import run

    code = run(sys.argv[1:])
    # All is told and undone: a Ctrl-C while Python ends would only change the exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
