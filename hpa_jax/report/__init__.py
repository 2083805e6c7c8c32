"""Reports to look at: what a dataset holds before training, and what a run has learnt.

`write.py` chooses between the two pages. dataset/page.py and run/page.py list the sections of
each: plain data, which html.py renders with a file in templates/, and tables of its numbers, which
tables.py writes. line_charts.py and table_charts.py lay out charts, pictures.py makes images
small.
"""
