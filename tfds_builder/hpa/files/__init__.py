"""Sources of a csv and image files.

layouts.py       the kinds of source: Kaggle's, HPA v18's and anyone's
source.py        one such source, whichever kind
image_files.py   the files of an example, and the image they make
said.py          what image files say of themselves, over a whole source
ids.py           safe names for Ids
csv_table.py     the csv as a whole, of
csv_text.py      its lines, in any dialect,
csv_columns.py   its columns,
csv_rows.py      its rows and
csv_labels.py    their labels
"""
