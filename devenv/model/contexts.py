"""Which contexts of a kubeconfig lead to a cluster on this machine, and may be used unasked. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_LOCAL = re.compile(
    r"kind-.+|k3d-.+|minikube|docker-desktop|docker-for-desktop|rancher-desktop|colima(-.+)?|orbstack|microk8s"
    r"|crc-.+|podman.*"
)
"""What the makers of such clusters call their contexts."""
_PRIVATE = [
    ipaddress.ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
"""Where virtual machines and containers are (RFC 1918, RFC 4193)."""
_HERE = {"localhost", "kubernetes.docker.internal", "host.docker.internal", "api.crc.testing"}


def refusal(name: str, server: str, allowed: Iterable[str]) -> str:
    """Why devenv does not use a context whose API server is at this URL; empty where it may."""
    if name in allowed:
        return ""
    if not _LOCAL.fullmatch(name):
        return "it is not called as one of a cluster on this machine"
    # A name is quickly given: where it leads to counts as well.
    return "" if is_near(urlsplit(server).hostname or "") else f"it leads to {server}, which is elsewhere"


def is_near(host: str) -> bool:
    """On this machine, or in a network of its own. A name is not looked up: it can lead anywhere later."""
    if host in _HERE or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    near = address.is_loopback or address.is_unspecified
    return near or any(address in network for network in _PRIVATE if network.version == address.version)
