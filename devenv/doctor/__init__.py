"""What this machine needs for the stack: looked at, mended where asked for, and put back as it was."""

from devenv.doctor.check import Check
from devenv.doctor.checks import examine
from devenv.doctor.mends import Mend, advice, in_turn, prescribe
from devenv.doctor.undo import take_back

__all__ = ["Check", "Mend", "advice", "examine", "in_turn", "prescribe", "take_back"]
