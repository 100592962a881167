"""Who owns the content, and what an interrupted run left to do. Instances in, a decision out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from devenv.model.instance import Gate, Instance

ByHand = Callable[[Literal["restart", "stop", "snapshot"], Instance], str]
"""The command with which a person does this to an instance."""


@dataclass(frozen=True, slots=True)
class Standing:
    owner: Instance | None = None
    revive: Instance | None = None
    """Has the content but does not run: start it, it goes on from its record."""
    resume: Instance | None = None
    """Has no content yet and nobody serves: let its hook run, or go on."""
    moved: tuple[Instance, ...] = ()
    """Handed their content on: stop and remove them."""
    forks: tuple[Instance, ...] = ()
    """Own an earlier epoch though a later one is there: a snapshot was restored while its owner was dead."""
    discard: tuple[Instance, ...] = ()
    """Came beside an owner and never got the content: stop and remove them."""
    unknown: tuple[Instance, ...] = ()
    """Run, but their gate does not answer; or it answers, and is about to hand over."""
    problem: str = ""
    """Why nothing may be touched."""
    next_step: str = ""

    @property
    def tidy(self) -> bool:
        """One owner at work and nothing else, or nothing at all."""
        others = (self.revive, self.resume, *self.moved, *self.forks, *self.discard, *self.unknown)
        return not self.problem and not any(others)


def standing(instances: Sequence[Instance], by_hand: ByHand) -> Standing:
    """Judge all php-fpm instances of a stack. The owner of the highest epoch stays; in doubt nothing goes."""

    def save(some: Sequence[Instance]) -> str:
        commands = " and ".join(f"{by_hand('snapshot', one)} > {one.name}.tar" for one in some)
        return f"save their content: {commands}"

    # One that its engine removes already is no business of ours, once the content is not its own any more.
    instances = [one for one in instances if not one.leaving or one.owner]
    unknown = tuple(instance for instance in instances if instance.gate is None and instance.running)
    # A container that never ran has no record and no content.
    blank = [instance for instance in instances if instance.gate is None and not instance.running]
    known = [(instance, instance.gate) for instance in instances if instance.gate is not None]
    owners = sorted(
        ((one, gate) for one, gate in known if gate.role == "owner"), key=lambda pair: -pair[1].epoch
    )
    moved = [one for one, gate in known if gate.role == "moved"]
    arriving = [one for one, gate in known if gate.role in ("fresh", "incoming")]

    if len({gate.lineage for _, gate in owners}) > 1:
        return Standing(
            unknown=unknown,
            problem=f"{_names([one for one, _ in owners])} own databases of different origin",
            next_step=f"{save([one for one, _ in owners])}; then remove the one you do not want",
        )
    if len(owners) > 1 and owners[0][1].epoch == owners[1][1].epoch:
        return Standing(
            unknown=unknown,
            problem=f"{_names([one for one, _ in owners])} own the same epoch of one database",
            next_step=f"{save([one for one, _ in owners])}; and report this: it is a bug",
        )
    if owners:
        owner, gate = owners[0]
        if owner.leaving:
            # Its engine has made, or will make, another one that takes the content over: hands off both.
            return Standing(owner=owner, unknown=(owner, *unknown))
        later = [one for one, other in known if other.lineage == gate.lineage and other.epoch > gate.epoch]
        if later and unknown:
            return Standing(unknown=unknown)
        if later:
            return Standing(
                unknown=unknown,
                problem=f"{_names(later)} knows a later owner than {owner.name}, which is not there",
                next_step=_RECOVER,
            )
        strangers = [one for one, other in known if other.role == "moved" and other.lineage != gate.lineage]
        if strangers:
            return Standing(
                unknown=unknown,
                problem=f"{_names(strangers)} handed on another database than the one {owner.name} owns",
                next_step=f"{save([owner, *strangers])}; then stop and remove the one you do not want",
            )
        forks = tuple(one for one, _ in owners[1:])
        if forks and not owner.running:
            return Standing(
                unknown=unknown,
                problem=f"{owner.name} holds later content than {_names(forks)}, and does not run",
                next_step=f"{by_hand('restart', owner)}; then devenv up: it stays, and the other is saved",
            )
        if not owner.running:
            return Standing(revive=owner, unknown=unknown)
        discard = (*arriving, *blank)
        return Standing(owner=owner, moved=tuple(moved), forks=forks, discard=discard, unknown=unknown)
    # What its engine starts again has no gate yet, and the record of a pod cannot be read until then.
    restarting = (one for one in blank if one.state == "restarting")
    if silent := (*unknown, *restarting):
        # One of them may be the one that has the content, or that the others know of.
        return Standing(unknown=silent)
    if staged := [(one, gate) for one, gate in known if gate.role == "incoming" and gate.staged]:
        return _staged(*staged[0], [(one, gate) for one, gate in known if gate.role == "moved"])
    waiting = [one for one in arriving if one.running]
    if back := [one for one in waiting if one.gate and one.gate.successor]:
        # It relays to one that ends, and takes the content back from it: a newer one waits for that as well.
        waiting = back
    if len(waiting) == 1:
        # Its predecessor, if there is one, keeps the content until this one has said that it opened.
        return Standing(resume=waiting[0])
    if len(waiting) > 1:
        # One that has begun to take the content over waits for its owner alone; a fresh one can begin anew.
        first, *others = sorted(waiting, key=lambda one: one.gate is None or one.gate.role != "fresh")
        return Standing(
            problem=f"{_names(waiting)} all wait for the content, and nobody owns it",
            next_step=f"stop all but {first.name}: {'; '.join(by_hand('stop', one) for one in others)}",
        )
    if moved:
        return Standing(
            problem=f"{_names(moved)} handed its content to an instance that is gone",
            next_step=_RECOVER,
        )
    return Standing(discard=(*arriving, *blank))


def _staged(one: Instance, gate: Gate, moved: Sequence[tuple[Instance, Gate]]) -> Standing:
    """It has all of the content, and owns it at a word of the one that gave it."""
    giver = next(
        (other for other, its in moved if its.successor is None or its.successor.get("uid") == gate.uid), None
    )
    if giver is None:
        return Standing(
            problem=f"{one.name} has all of the content, and the instance that handed it over is not there",
            next_step=f"start that one again; if it is gone for good: devenv recover --from {one.name}",
        )
    if not giver.running:
        return Standing(revive=giver)
    return Standing(resume=one) if one.running else Standing(revive=one)


_RECOVER = "start the later owner again; if it is gone for good: devenv recover --from NAME"


def _names(instances: Sequence[Instance]) -> str:
    return ", ".join(instance.name for instance in instances)
