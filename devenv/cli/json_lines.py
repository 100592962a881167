"""The front end for programs: an event a line on stdout."""

from __future__ import annotations

import json
import os
import sys

from devenv.model.events import Event, as_json


class JsonLines:
    def __call__(self, event: Event) -> None:
        try:
            print(json.dumps(as_json(event), default=str), flush=True)
        except BrokenPipeError:
            # Nobody reads any more; what runs goes on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
