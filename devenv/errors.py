"""One tree of errors. Each says what failed, why, and what to do next.

DevenvError                 1  it failed
├── CommandFailed           1  a program that devenv ran did not succeed
├── UsageError              2  the command line or devenv.toml is wrong
│   └── ConfigError
├── NotVerified             3  the content is not proven to be what it was
├── OtherContent            1  a registry has something else under that name
└── NotFit                  4  this machine cannot run the stack as it is; doctor has the mend
    └── WrongPlatform       4  an image is for another architecture than where it is to run
"""

from __future__ import annotations

from collections.abc import Sequence


class DevenvError(Exception):
    """Phrases without a full stop; `log_tail` is what the failing program said last.

    `next_step` is devenv's own advice. `instance_says` is that of a container, which may be anybody's.
    """

    default_exit_code = 1

    def __init__(
        self,
        what: str,
        why: str,
        next_step: str,
        log_tail: str = "",
        exit_code: int | None = None,
        *,
        instance_says: str = "",
    ) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.next_step = next_step
        self.log_tail = log_tail
        self.instance_says = instance_says
        self.exit_code = self.default_exit_code if exit_code is None else exit_code


class CommandFailed(DevenvError):
    """Carries the argv and exit code, so that it can be run again by hand."""

    def __init__(
        self,
        what: str,
        why: str,
        next_step: str,
        *,
        argv: Sequence[str],
        code: int | None,
        log_tail: str = "",
    ) -> None:
        super().__init__(what, why, next_step, log_tail)
        self.argv = tuple(argv)
        self.code = code


class UsageError(DevenvError):
    default_exit_code = 2


class ConfigError(UsageError):
    pass


class NotVerified(DevenvError):
    default_exit_code = 3


class NotFit(DevenvError):
    default_exit_code = 4


class OtherContent(DevenvError):
    pass


class WrongPlatform(NotFit):
    """`missing`: the platforms that an image is needed for; empty where that is the engine's own."""

    def __init__(
        self, what: str, why: str, next_step: str, log_tail: str = "", *, missing: Sequence[str] = ()
    ) -> None:
        super().__init__(what, why, next_step, log_tail)
        self.missing = tuple(missing)
