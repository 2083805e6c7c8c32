"""Synthetic images, drawn from a seed: nothing to download.

source.py       the source
render.py       an image: its labels and its four channels
layout.py       where its cells lie
cells.py        their masks, nuclei and the like
variation.py    how fields differ, where that is asked for
masks.py        which pixel belongs to which cell and nucleus
references.py   the three reference channels
patterns.py     the protein's, a pattern for each of the 28 labels; bodies.py has single bodies
drawing.py      noise, lines and discs
mosaic.py       an image of each label, as one PNG
"""
