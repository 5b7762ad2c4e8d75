"""The search for the right quantisation: every allowed scheme is made, judged and timed alike; one is kept, each other one told why it lost.

    find(wanted, source, judge, limits, clock, scratch, progress) -> Found

Cheap schemes come first. A scheme is not made when another has made it pointless (`-mixed` where the unmixed one holds), and not judged on
all rows when the first rows settle it. The choice is a function of the candidates alone, so that a receipt can be asked again: `choose`.
"""

from edgedistill.search._choice import ALIKE, NEAR, choose
from edgedistill.search._find import CHANCE_Z, FIRST, Clock, Feeds, Found, Judge, Judged, Limits, Pace, at_most, clock_here, find, holds

__all__ = [
    "ALIKE",
    "CHANCE_Z",
    "FIRST",
    "NEAR",
    "Clock",
    "Feeds",
    "Found",
    "Judge",
    "Judged",
    "Limits",
    "Pace",
    "at_most",
    "choose",
    "clock_here",
    "find",
    "holds",
]
