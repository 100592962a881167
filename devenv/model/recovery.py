"""Whether the content may be taken from one instance though another one had it. Instances in, words out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from devenv.model.instance import Gate, Instance

By = Literal["serves", "takes over", "silent"]
_LIVES = ("running", "paused", "restarting")
"""States in which an instance serves on, or will without anybody's word."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Another instance, because of which nothing is taken from the chosen one unless a person insists."""

    instance: Instance
    by: By

    @property
    def what(self) -> str:
        words = {
            "serves": "owns the content and serves",
            "silent": f"is {self.instance.state}, and does not say whether it serves",
            "takes over": "is taking the content over",
        }
        return f"{self.instance.name} {words[self.by]}"

    def why(self, chosen: Instance) -> str:
        """Who it is, and what would be lost."""
        gate = self.instance.gate
        epoch = f", the owner of epoch {gate.epoch}" if gate and gate.role == "owner" else ""
        return (
            f"it is {self.instance.release}{epoch}; beside {chosen.name} as another owner, both would take"
            " writes, each into a database of its own, and those of one of them would be lost"
        )


def is_serving(instance: Instance) -> bool:
    """Whether writes go into its content now, as far as its gate tells."""
    gate = instance.gate
    # An older gate does not say `served`.
    if not instance.running or gate is None or gate.role != "owner" or gate.served is False:
        return False
    # One that has seen that another one went on keeps what it has, and serves nobody.
    return not (gate.state == "starting" and gate.failed)


def objections(instances: Sequence[Instance], chosen: Instance) -> list[Objection]:
    """Of all php-fpm instances of a stack, those that speak against taking the content from `chosen`."""
    found = []
    for one in instances:
        if one.id == chosen.id or one.state not in _LIVES:
            continue
        if one.gate is None or (one.owner and not one.running):
            found.append(Objection(one, "silent"))
        elif is_serving(one):
            found.append(Objection(one, "serves"))
        elif _takes_over(one.gate, chosen.gate):
            found.append(Objection(one, "takes over"))
    return sorted(found, key=lambda one: get_args(By).index(one.by))


def _takes_over(other: Gate, chosen: Gate | None) -> bool:
    """Between the two of them a hand-over is at work, and needs nobody."""
    if chosen is None or chosen.role != "moved" or other.role != "incoming" or other.failed:
        return False
    return chosen.successor is None or chosen.successor.get("uid") == other.uid


def can_be_recovered(instance: Instance) -> bool:
    """Whether it has content that it does not serve, or is new and waits for an owner that is gone."""
    gate = instance.gate
    if gate is None:
        return False
    return (
        gate.role in ("moved", "fresh") or gate.staged or (gate.role == "owner" and not is_serving(instance))
    )


def content_of(instance: Instance, since: str = "") -> str:
    """What it would go on with. `since`: when it got or left that, where it is known."""
    gate = instance.gate
    if gate is None:
        return "what it has, which it does not tell"
    when = f", as of {since}" if since else ""
    if gate.role == "moved":
        return f"what it handed on as the owner of epoch {gate.epoch}{when}"
    if gate.role == "owner":
        return f"its own content, of epoch {gate.epoch}{when}"
    if gate.staged:
        return f"all that was handed to it{when}"
    told = f" ({gate.failed['why']})" if gate.failed else ""
    return f"the newest snapshot{told}"


def only_stopped(instances: Sequence[Instance], chosen: Instance) -> list[Instance]:
    """Other owners that are not gone: a start brings them back with all that they have."""
    return [one for one in instances if one.id != chosen.id and one.owner and one.state not in _LIVES]
