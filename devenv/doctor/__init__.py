"""What this machine needs for the stack: looked at, and mended where that is asked for."""

from devenv.doctor.checks import Check, examine
from devenv.doctor.mends import Mend, advice, in_turn, prescribe

__all__ = ["Check", "Mend", "advice", "examine", "in_turn", "prescribe"]
