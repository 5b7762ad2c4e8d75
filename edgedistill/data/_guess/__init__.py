"""What a data file is about: which task it suits, which column plays which role, and how much there is of it.

One file for each kind of guess (`classes`, `numbers`, `words`, `questions`, `pictures`, `plain`). Each has `guesses(table)`: what it can make
of a table, with a strength; the strongest of all kinds is the guess, the others are told.
"""

from edgedistill.data._guess._choose import guess
from edgedistill.data._guess._noun import Guess
from edgedistill.data._guess._texts import quantiles

__all__ = ["Guess", "guess", "quantiles"]
