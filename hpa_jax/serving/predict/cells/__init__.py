"""Cell by cell: `predict EXPORT DIR --cells` scores each cell of each image.

request.py        what is asked for
find.py           the cells of an image: from a mask, or segmented
found.py          what was found in an image: its cells, their scores, their outlines
scoring.py        reads images, cuts out cells, scores both
progress_file.py  what was done so far, on the disk
pooling.py        an image's scores from its cells', and how far the cells differ
tables.py         a row a cell; and a row an image beside it
overlays.py       a PNG an image with the cells' outlines, by label
page.py           the same as one HTML page
run.py            the whole way

Importing this starts no JAX.
"""
