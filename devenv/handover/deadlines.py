"""Every deadline of the hand-over, in seconds, in one place.

They only make sense in this order, which a test holds::

    poll < drain budget < lease < absent < hook < termination < grace period
    names + absent < hook
    termination + finish + shell + save + endpoints + linger < grace period

A lease outlives a drain, so an owner never opens while its successor still waits for
the drain; the hook outlives many leases, so that one lost lease is not a failed upgrade;
a terminating owner waits longer than a hook may take; and the engine's grace period is
longer than all that an end can consist of, since its own end is SIGKILL, and what was not
saved by then is lost with the container.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Deadlines:
    poll: float = 0.1
    """Between two looks at something that changes: discovery, a refusing successor."""
    connect: float = 1.0
    """To open a connection to a peer on the same network."""
    handshake: float = 5.0
    """From a connection to our gate until its peer has shown that it has the secret; and how long in all one
    instance may take to say what it is."""
    drain: float = 0.8
    """How long requests may be held for those in flight; then a second server takes over."""
    lease: float = 5.0
    """An owner stays closed this long without a word from its successor."""
    reply: float = 30.0
    """Silence within one reply of a peer (a large copy is many reads, each with this bound)."""
    hook: float = 90.0
    """From the start of an instance until it owns a database, or has failed."""
    termination: float = 100.0
    """A terminating instance waits this long, in all, for a hand-over that has begun."""
    finish: float = 30.0
    """An owner that ends alone cuts requests that last longer than this."""
    save: float = 40.0
    """Then it has at least this long to save its content: 1 GB takes some ten seconds."""
    grace: float = 180.0
    """The engine's SIGKILL; `stop_grace_period` of compose.yaml is this one. A moved instance has
    nothing to save: its relayed requests get what is left of it."""
    absent: float = 15.0
    """A new instance waits this long for an owner that has signed and is not there: an engine starts a
    killed one again, after a pause that grows with each time."""
    names: float = 0.0
    """As old may be what names tell. Where nobody's word says that there is no content, looks that find
    nobody are believed only this far apart: fewer could all be one answer out of a cache. Kubernetes has
    such a one; in compose the engine answers each time."""
    successor: float = 2.0
    """A terminating owner waits this long for a successor to show up at all."""
    endpoints: float = 0.0
    """A moved instance that ends goes on relaying this long after an owner is ready: Kubernetes takes some
    seconds until every node knows that requests go elsewhere. In compose each request asks for the name."""
    retirement: float = 60.0
    """An owner that was told that no successor comes believes it so long."""
    sign: float = 5.0
    """Between two looks of an owner at the signature beside the snapshots: whether it is still its own."""
    linger: float = 1.0
    """A moved instance refuses connections this long before it exits, while names still list it."""
    relay: float = 30.0
    """A relay looks this long for the owner on behalf of one held connection."""
    shell: float = 5.0
    """Programs that use the database from a shell get this long to finish."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Deadlines:
        """Each deadline can be set as ``GATE_DEADLINE_<NAME>``, in seconds."""
        given = {
            field.name: float(value)
            for field in fields(cls)
            if (value := env.get(f"GATE_DEADLINE_{field.name.upper()}"))
        }
        return cls(**given)

    def disorder(self) -> str | None:
        """What breaks the order above, or None."""
        chain = ("poll", "drain", "lease", "absent", "hook", "termination", "grace")
        for shorter, longer in itertools.pairwise(chain):
            if getattr(self, shorter) >= getattr(self, longer):
                return f"deadline {shorter} must be shorter than {longer}"
        if self.names + self.absent >= self.hook:
            return "deadlines names and absent together must be shorter than hook"
        last = ("termination", "finish", "shell", "save", "endpoints", "linger")
        if sum(getattr(self, name) for name in last) >= self.grace:
            return f"deadlines {', '.join(last[:-1])} and {last[-1]} together must be shorter than grace"
        return None
