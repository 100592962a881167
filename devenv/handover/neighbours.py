"""Connections of neighbours alone: the kernel drops all others before they are any.

A container's address can be reached from its whole host: by every local user, and by whatever a program there
can be talked into. Such a connection comes from the network's gateway, which is the host, or from an
address of the host that does not lie in the network. Neighbours are at all other addresses of the network.

Two sockets share the port (SO_REUSEPORT), and a classic BPF program picks one of them by a SYN's source: the
true one, or one from which nobody ever accepts. That needs no capability; a filter on a single socket
(SO_ATTACH_FILTER) does with some kernels.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from .journal import Journal
from .relay import refuse_new
from .settings import Address

ROUTES = Path("/proc/net/route")
_LOOPBACK = IPv4Network("127.0.0.0/8")
_SO_ATTACH_REUSEPORT_CBPF = 51
_SOURCE = 0xFFF00000 + 12
"""SKF_NET_OFF (linux/filter.h), and where an IPv4 header has the sender's address."""
_LOAD, _AND, _IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
_NOBODY, _LISTENER = 0, 1
"""Sockets are counted in the order in which they began to listen."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who is on our networks: all addresses of `networks` but the `gateways`."""

    networks: tuple[IPv4Network, ...]
    gateways: tuple[IPv4Address, ...]

    @classmethod
    def of_routes(cls, text: str) -> Neighbours:
        """Of the text of /proc/net/route: a title, then a route a line, its addresses in hexadecimal."""
        networks, gateways = [_LOOPBACK], []
        for line in text.splitlines()[1:]:
            _, destination, gateway, _, _, _, _, mask, *_ = line.split()
            if int(gateway, 16):
                gateways.append(_address(gateway))
            else:
                networks.append(IPv4Network(f"{_address(destination)}/{_address(mask)}"))
        return cls(tuple(networks), tuple(gateways))

    def program(self) -> bytes:
        """In classic BPF: which socket a packet goes to."""
        code = [(_LOAD, 0, 0, _SOURCE)]
        for gateway in self.gateways:
            code += [(_IF_EQUAL, 0, 1, int(gateway)), (_RETURN, 0, 0, _NOBODY)]
        for network in self.networks:
            code += [(_LOAD, 0, 0, _SOURCE), (_AND, 0, 0, int(network.netmask))]
            code += [(_IF_EQUAL, 0, 1, int(network.network_address)), (_RETURN, 0, 0, _LISTENER)]
        code.append((_RETURN, 0, 0, _NOBODY))
        return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


class Listener(socket.socket):
    """A listening socket for neighbours alone. Raises OSError where the kernel has no such programs."""

    def __init__(self, neighbours: Neighbours) -> None:
        super().__init__()
        self._nobody = socket.socket()
        try:
            for one in (self, self._nobody):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _attach(self._nobody, neighbours.program())
            refuse_new(self._nobody)
        except OSError:
            self.close()
            raise

    def bind(self, where: Address) -> None:  # type: ignore[override]
        super().bind(where)
        self._nobody.bind(self.getsockname())

    def listen(self, backlog: int = 128) -> None:
        # In this order: for an instant a neighbour's SYN may be dropped, which is sent again. In the
        # other one a stranger could slip in.
        self._nobody.listen(0)
        super().listen(backlog)

    def close(self) -> None:
        # Both or none: neighbours are to be refused then, not left without an answer.
        self._nobody.close()
        super().close()


def find_neighbours(journal: Journal) -> Neighbours | None:
    """Those of this moment; None where the kernel cannot keep the others out, which the journal then says."""
    try:
        neighbours = Neighbours.of_routes(ROUTES.read_text())
        Listener(neighbours).close()
    except (OSError, ValueError) as error:
        journal.write("server", "unguarded", why=f"whoever reaches this address may connect: {error}")
        return None
    return neighbours


def _attach(one: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _INSTRUCTION.size
    option = struct.pack("@HP", count, ctypes.addressof(code))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)


def _address(hexadecimal: str) -> IPv4Address:
    """As the kernel prints it: the bytes of the network read as a number of this machine."""
    return IPv4Address(int(hexadecimal, 16).to_bytes(4, sys.byteorder))
