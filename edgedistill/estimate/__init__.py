"""How long the steps of a build take on this machine, and what memory they hold: measured for seconds, worked out for the rest. No torch."""

from edgedistill.estimate.body import Body
from edgedistill.estimate.cost import Cost, Texts, Work
from edgedistill.estimate.recipe import WORTH_S, costs, told
from edgedistill.estimate.speed import Speed, known, measured, typical
from edgedistill.estimate.table import duration, memory, total

__all__ = ["WORTH_S", "Body", "Cost", "Speed", "Texts", "Work", "costs", "duration", "known", "measured", "memory", "told", "total", "typical"]
