"""Who owns the content, and what an interrupted run left to do. Instances in, a decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devenv.model.instance import Instance


@dataclass(frozen=True, slots=True)
class Standing:
    owner: Instance | None = None
    revive: Instance | None = None
    """Owns the content but does not run: start it, it goes on from its record."""
    resume: Instance | None = None
    """Has no content yet and nobody serves: let its hook run, or go on."""
    moved: tuple[Instance, ...] = ()
    """Handed their content on: stop and remove them."""
    forks: tuple[Instance, ...] = ()
    """Own an earlier epoch though a later one is there: a snapshot was restored while its owner was dead."""
    discard: tuple[Instance, ...] = ()
    """Came beside an owner and never got the content: stop and remove them."""
    unknown: tuple[Instance, ...] = ()
    """Run, but their gate does not answer."""
    problem: str = ""
    """Why nothing may be touched."""
    next_step: str = ""

    @property
    def tidy(self) -> bool:
        """One owner at work and nothing else, or nothing at all."""
        others = (self.revive, self.resume, *self.moved, *self.forks, *self.discard, *self.unknown)
        return not self.problem and not any(others)


def standing(instances: Sequence[Instance]) -> Standing:
    """Judge all php-fpm instances of a stack. The owner of the highest epoch stays; in doubt nothing goes."""
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
            next_step=f"{_SAVE}, then remove the one you do not want",
        )
    if len(owners) > 1 and owners[0][1].epoch == owners[1][1].epoch:
        return Standing(
            unknown=unknown,
            problem=f"{_names([one for one, _ in owners])} own the same epoch of one database",
            next_step=f"{_SAVE} and report this: it is a bug",
        )
    if owners:
        owner, gate = owners[0]
        later = [one for one, other in known if other.lineage == gate.lineage and other.epoch > gate.epoch]
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
                next_step=f"{_SAVE}, then stop and remove the one you do not want",
            )
        forks = tuple(one for one, _ in owners[1:])
        if forks and not owner.running:
            return Standing(
                unknown=unknown,
                problem=f"{owner.name} holds later content than {_names(forks)}, and does not run",
                next_step=f"docker start {owner.name}, then devenv up: it stays, and the other is saved",
            )
        if not owner.running:
            return Standing(revive=owner, unknown=unknown)
        discard = (*arriving, *blank)
        return Standing(owner=owner, moved=tuple(moved), forks=forks, discard=discard, unknown=unknown)
    waiting = [one for one in arriving if one.running]
    if len(waiting) == 1:
        # Its predecessor, if there is one, keeps the content until this one has said that it opened.
        return Standing(resume=waiting[0], unknown=unknown)
    if len(waiting) > 1:
        return Standing(
            unknown=unknown,
            problem=f"{_names(waiting)} all wait for the content, and nobody owns it",
            next_step="see devenv logs; stop all but the oldest with docker stop",
        )
    if moved:
        return Standing(
            unknown=unknown,
            problem=f"{_names(moved)} handed its content to an instance that is gone",
            next_step=_RECOVER,
        )
    stopped = [*arriving, *blank]
    return Standing(discard=tuple(stopped), unknown=unknown)


_SAVE = "save both (docker exec NAME gate snapshot -o - > FILE)"
_RECOVER = "start the later owner again; if it is gone for good: devenv recover --from NAME"


def _names(instances: Sequence[Instance]) -> str:
    return ", ".join(instance.name for instance in instances)
