"""How long everything may take, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    wait: float = 30.0
    """A connection waits for a forward, unanswered."""
    connect: float = 1.0
    """To kubectl, on this machine."""
    fresh: float = 0.1
    """A forward that answered is trusted so long; a connection that comes later has it asked first."""
    open: float = 5.0
    """From the start of kubectl until it forwards; it waits for a pod for most of it. It takes 0.3 s, and 1 s
    on a busy machine; one that hangs on a network that was away is not to be waited for."""
    probe: float = 1.0
    """Between two probes of a forward that nobody asks for."""
    answer: float = 0.8
    """For the answer to a probe. Two that are missed find a zombie, so this is what a wake-up costs."""
    asleep: float = 3.0
    """By so much the clocks part when the machine has slept, and not when its time is set right."""
    shortest: float = 0.1
    """Before kubectl is started again; doubled each time."""
    longest: float = 2.0
    awaited: float = 0.5
    """The longest while a connection waits: who waits sets the pace."""
    server: float = 2.0
    """For the API server to take a connection. While it does not, kubectl is not started: it would go on for
    longer each time before it asks again, and be late when it answers."""
    steady: float = 10.0
    """A forward that held so long was a good one: the next is not delayed."""
    finish: float = 30.0
    """For connections of a forward whose pod goes away."""
    silent: float = 5.0
    """For those of one that does not answer: it may just be slow."""
    half: float = 60.0
    """For a client to end what it sends, once its answer is complete."""
    dropped: float = 2.0
    """For an answer to come to its end that nobody is there to hear."""
    quiet: float = 0.5
    """A connection that is owed no answer, and where nothing has moved for so long, can be cut."""
    stop: float = 5.0
    """For running connections, when we are asked to end."""
    orphaned: float = 600.0
    """Without a forward and without a kubeconfig: the cluster is gone for good."""
