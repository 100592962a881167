"""Which contexts of a kubeconfig lead to a cluster on this machine, and may be used unasked. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_HERE = re.compile(
    r"kind-.+|k3d-.+|docker-desktop|docker-for-desktop|rancher-desktop|colima(-.+)?|orbstack|crc-.+"
)
"""What the makers of clusters on a machine's own address call their contexts."""
_BESIDE = re.compile(r"minikube|microk8s|multipass-.+")
"""The same of those in a virtual machine, which has an address of its own."""
_PRIVATE = [
    ipaddress.ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
"""Where virtual machines are, and company networks (RFC 1918, RFC 4193)."""
_NAMES = {"localhost", "kubernetes.docker.internal", "host.docker.internal", "api.crc.testing"}


def refusal(name: str, server: str, allowed: Iterable[str]) -> str:
    """Why devenv does not use a context whose API server is at this URL; empty where it may."""
    if name in allowed:
        return ""
    here, beside = _HERE.fullmatch(name), _BESIDE.fullmatch(name)
    if not here and not beside:
        return "it is not called as one of a cluster on this machine"
    # A name is quickly given: where it leads to counts as well.
    near = _is_near(urlsplit(server).hostname or "", beside=bool(beside))
    return "" if near else f"it leads to {server}, which is elsewhere"


def _is_near(host: str, *, beside: bool) -> bool:
    """On this machine, or `beside` it. A name is not looked up: it can lead anywhere later."""
    if host in _NAMES or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    return beside and any(address in network for network in _PRIVATE if network.version == address.version)
