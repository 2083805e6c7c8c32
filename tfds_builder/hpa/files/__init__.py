"""Sources of a csv and image files.

layouts.py       the kinds of source: Kaggle's, HPA v18's, S-BIAD2443's and anyone's
layout_checks.py refuses arguments that have no meaning
source.py        one such source, whichever kind
places.py        where the csv and the images are
neighbours.py    what there is where a file is missing
image_files.py   the files of an example, and the image they make
said.py          what image files say of themselves, over a whole source
channel_notes.py channels that may not be what they are taken for
ranges.py        whether values survive becoming 8 bits
ids.py           safe names for Ids
csv_table.py     the csv as a whole, of
csv_text.py      its lines, in any dialect,
csv_columns.py   its columns,
csv_rows.py      its rows and
csv_labels.py    their labels
joined_source.py the source of S-BIAD2443, whose csv is
s_biad2443.py    its two tables in one
"""
