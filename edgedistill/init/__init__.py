"""Writes a first recipe from the data at hand, one that loads as it is and explains itself."""

from edgedistill.init._budget import Choice, sentence
from edgedistill.init._find import Findings, look
from edgedistill.init._recipe import recipe_text
from edgedistill.init._write import write_recipe
from edgedistill.wording import quoted

__all__ = ["Choice", "Findings", "look", "quoted", "recipe_text", "sentence", "write_recipe"]
