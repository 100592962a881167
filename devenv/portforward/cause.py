"""What kubectl says, reduced to its cause in a few words."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CHATTER = re.compile(r"^(Forwarding from |Handling connection for |\s*$)")
_KLOG = re.compile(r"^[IWEF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
_PREFIX = re.compile(
    r"^(error|Error from server( \(\w+\))?|Unhandled Error|err|sh: (line )?\d+): |"
    r"^an error occurred forwarding \d+ -> \d+: |"
    r"^error forwarding port \d+ to pod \S+, uid : ",
    re.IGNORECASE,
)
SERVER_SILENT = "the API server does not answer"
_KNOWN = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        ("No such container|not found in sandbox|sandbox .*not found|network namespace", "pod gone"),
        (r'pods? "[^"]+" not found', "pod gone"),
        (r"The connection to the server \S+ was refused", SERVER_SILENT),
        (
            'Unable to connect to the server|TLS handshake timeout|Get "https?://',
            SERVER_SILENT,
        ),
        ("is forbidden", "the API server does not allow it"),
        ("connection refused", "the pod refuses connections"),
        ("timed out waiting for the condition|Current status=Pending", "no pod of it runs yet"),
        (r"Current status=\w+", "its pod does not run"),
        (r'services? "[^"]+" not found', "the Service is not there"),
        # kubectl says this last, whatever was before: so it is looked for last.
        ("lost connection to pod", "connection to the pod lost"),
    )
)
_LONGEST = 160


def cause(lines: Sequence[str]) -> str:
    """Empty where it gave none."""
    said = [line for line in lines if not _CHATTER.match(line)]
    for pattern, words in _KNOWN:
        if any(pattern.search(line) for line in said):
            return words
    if not said:
        return ""
    line = _KLOG.sub("", said[-1])
    while (shorter := _PREFIX.sub("", line).strip()) != line:
        line = shorter
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
