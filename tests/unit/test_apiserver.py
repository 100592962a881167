"""Where the API server is, and whether it answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from devenv.errors import CommandFailed, NotFit
from devenv.tools import apiserver
from devenv.tools.apiserver import ApiServer
from devenv.tools.kubectl import Cluster

KUBECONFIG = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: QUJD
    server: https://127.0.0.1:6443
  name: kind-c
"""


def test_the_one_of_a_kubeconfig(tmp_path: Path) -> None:
    (path := tmp_path / "kubeconfig").write_text(KUBECONFIG)
    found = apiserver.of(path)
    assert found is not None
    assert str(found) == "127.0.0.1:6443"
    path.write_text(KUBECONFIG.replace("QUJD", "WFla"))
    assert apiserver.of(path) != found
    path.write_text(KUBECONFIG.replace("127.0.0.1", "[::1]"))
    found = apiserver.of(path)
    assert found is not None
    assert (found.host, found.port) == ("::1", 6443)


@pytest.mark.parametrize("text", ["", "{}", KUBECONFIG + KUBECONFIG.replace("6443", "6444"), "\0"])
def test_a_kubeconfig_that_names_none_or_several_is_no_witness(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "kubeconfig").write_text(text)
    assert apiserver.of(path) is None
    assert apiserver.of(tmp_path / "nothing") is None


async def test_one_that_is_not_there_is_known_in_bounded_time() -> None:
    ended = asyncio.Event()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await close(reader, writer)
        ended.set()

    began = asyncio.get_running_loop().time()
    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "nobody is behind" in await ApiServer("127.0.0.1", port, "").silent(0.5)
    assert "nobody listens" in await ApiServer("127.0.0.1", port, "").silent(0.5)
    async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "says nothing" in await ApiServer("127.0.0.1", port, "").silent(0.5)
        # Nor is the connection kept that nobody answered.
        async with asyncio.timeout(5):
            await ended.wait()
    assert asyncio.get_running_loop().time() - began < 5


@pytest.mark.parametrize(
    ("said", "absent"),
    [
        ('error: Get "https://127.0.0.1:6443/api": read: connection reset by peer', True),
        ('Error from server: Patch "https://127.0.0.1:6443/api?x=y": EOF', True),
        ("Unable to connect to the server: net/http: TLS handshake timeout", True),
        ('Error from server (Forbidden): pods "a" is forbidden: exceeded quota: small', False),
        ('Error from server (NotFound): services "httpd-server" not found', False),
    ],
)
def test_a_connection_that_fails_is_told_from_an_answer(said: str, absent: bool) -> None:
    failed = CommandFailed("kubectl get failed", said, "", argv=["kubectl"], code=1, log_tail=said)
    with pytest.raises(NotFit if absent else CommandFailed), Cluster(Path("k"), "c", "n").errors():
        raise failed
