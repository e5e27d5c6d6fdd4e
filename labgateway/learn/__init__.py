"""A draft from traffic: what was captured of an instrument that nobody knows yet, to a driver and a mapping for a person to finish.

    material.py   files -> messages, their protocol, their framing, what is wrong with them
    looks.py      what a text looks like: a barcode, a time, a unit, a number
    evidence.py   rows of many messages side by side, and what stands at a place in all of them
    guess.py      which rows are results (rows.py), whose they are (identity.py), where each part stands (parts.py)
    draft.py      a guess -> driver.toml, NOTES.md and the lines of a mapping, as text

Nothing here is certain, and nothing drafted is used by the gateway until a person has put it there: each doubt is a sentence in
NOTES.md. Where a wrong guess could hide or change a result, no guess is made: the result parks under the draft.
"""

from labgateway.learn.draft import Draft, draft_of
from labgateway.learn.evidence import Guess
from labgateway.learn.guess import guess_of
from labgateway.learn.material import Material, material_of

__all__ = ["Draft", "Guess", "Material", "draft_of", "guess_of", "material_of"]
