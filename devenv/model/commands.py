"""What a command line is about. Pure."""

from __future__ import annotations

from collections.abc import Sequence

PLACE = {
    *("--kubeconfig", "--context", "--namespace"),
    *("--server", "--certificate-authority", "--tls-server-name"),
}
"""Options of kubectl with a value, which stand before its verb."""
REVIEW = '--output=jsonpath={.status.allowed}{"\\n"}'
"""What `kubectl create` answers of a review: nothing is there afterwards."""
_READING = {
    *("ps", "inspect", "version", "events", "logs", "info", "show"),
    *("get", "wait", "view", "get-contexts", "policy"),
}
_ASKING = {"status", "events", "fingerprint"}


def only_reads(argv: Sequence[str]) -> bool:
    """Whether a command changes nothing, so that it is shown on request alone."""
    rest = list(argv[1:])
    while rest[:1] and rest[0] in PLACE:
        del rest[:2]
    # docker's verb may stand behind a noun, kubectl's comes first.
    words = rest[:1] if argv[1:2] and argv[1] in PLACE else rest[:3]
    verbs = {word for word in words if not word.startswith("-")}
    if argv[1:2] == ("cp",) and argv[-1] == "-":
        return True
    if "--simulate" in argv or "--show" in argv:
        return True
    if tuple(argv[1:]) == ("--version",) or REVIEW in argv or "inspecti" in argv:
        return True
    return bool(verbs & _READING) or ("gate" in argv and bool(_ASKING & set(argv)))
