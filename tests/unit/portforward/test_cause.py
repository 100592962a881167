"""What kubectl says, in a few words."""

import pytest

from devenv.portforward.cause import cause

POD = "E1124 15:31:54.1 12 portforward.go:424] an error occurred forwarding 4 -> 80: error forwarding port 80"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["Forwarding from 127.0.0.1:4 -> 8080", "Handling connection for 4"], ""),
        ([], ""),
        (["error: lost connection to pod"], "connection to the pod lost"),
        (
            [f"{POD} to pod 3bd, uid : No such container: 3bd", "error: lost connection to pod"],
            "pod gone",
        ),
        (
            [f"{POD} to pod 3bd, uid : dial tcp4 127.0.0.1:8080: connect: connection refused"],
            "the pod refuses connections",
        ),
        (
            ["The connection to the server 127.0.0.1:6443 was refused - did you specify the right host?"],
            "the API server does not answer",
        ),
        (
            ["Unable to connect to the server: net/http: TLS handshake timeout"],
            "the API server does not answer",
        ),
        (
            ['error: Get "https://127.0.0.1:4/api": read: connection reset by peer'],
            "the API server does not answer",
        ),
        (
            ['Error from server (Forbidden): services "h" is forbidden: User "x"'],
            "the API server does not allow it",
        ),
        (['Error from server (NotFound): services "httpd-server" not found'], "the Service is not there"),
        (
            ["error: unable to forward port because pod is not running. Current status=Pending"],
            "no pod of it runs yet",
        ),
        (["error: timed out waiting for the condition"], "no pod of it runs yet"),
        (['error: context "kind-x" does not exist'], 'context "kind-x" does not exist'),
        (["sh: 1: kubectl: not found"], "kubectl: not found"),
        ([f"{POD} to pod 3bd, uid : something new"], "something new"),
    ],
)
def test_the_cause(said: list[str], words: str) -> None:
    assert cause(said) == words


def test_a_long_one_is_cut() -> None:
    assert len(cause(["x" * 1000])) == 160
