"""One stable port on this machine that leads to a Service of a cluster, for as long as the stack is up.

A process of its own listens there, and sends each connection through the `kubectl port-forward` that
works at the time. It starts kubectl again whenever that ends or goes silent; who comes meanwhile waits.
"""

from devenv.portforward.control import start, stop
from devenv.portforward.journal import State, state
from devenv.portforward.target import Target

FOLDER = "portforward"
"""Where it keeps what is known of it, below the folder of a cluster."""

__all__ = ["FOLDER", "State", "Target", "start", "state", "stop"]
