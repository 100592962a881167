"""The API server that a kubeconfig names: where it is, and whether it answers. No kubectl is started for it,
which tries for 15 s and longer where a port takes connections but nobody is behind it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SERVER = re.compile(r"^ +server: [\"']?https://\[?([^\s/\"'\]]+)\]?:(\d+)[\"']?\s*$", re.MULTILINE)
_AUTHORITY = re.compile(r"^ +certificate-authority-data: [\"']?([A-Za-z0-9+/=]+)[\"']?\s*$", re.MULTILINE)
_PAUSE = 0.3
# Whose certificate it is, kubectl checks at each call: nothing is said here.
_ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANYBODY.check_hostname = False
_ANYBODY.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True, slots=True)
class ApiServer:
    host: str
    port: int
    authority: str
    """The digest of the certificate authority that its certificate must be of."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    async def silent(self, patience: float) -> str:
        """Empty as soon as it takes a TLS connection; why it does not, if it has not within `patience`."""
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            why = await self._shake_hands(deadline)
            if not why or asyncio.get_running_loop().time() + _PAUSE > deadline:
                return why
            await asyncio.sleep(_PAUSE)

    async def _shake_hands(self, deadline: float) -> str:
        try:
            async with asyncio.timeout_at(deadline):
                _, writer = await asyncio.open_connection(self.host, self.port, ssl=_ANYBODY)
        except TimeoutError:
            return f"{self} takes connections and says nothing"
        except ConnectionRefusedError:
            return f"nobody listens on {self}"
        except OSError:  # of TLS as well
            return f"nobody is behind {self}"
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await writer.wait_closed()
        return ""


def of(kubeconfig: Path) -> ApiServer | None:
    """The one that a kubeconfig of a single cluster names, as kind writes it; None of any other."""
    try:
        text = kubeconfig.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    servers, authorities = set(_SERVER.findall(text)), set(_AUTHORITY.findall(text))
    if len(servers) != 1 or len(authorities) != 1:
        return None
    [(host, port)], [authority] = servers, authorities
    return ApiServer(host, int(port), hashlib.sha256(authority.encode()).hexdigest())
