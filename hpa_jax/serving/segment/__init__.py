"""From a folder of images, or a split of a dataset, to the cells in them.

command.py    `segment DIR`; split.py is the same for a dataset
arguments.py  flags; request.py is what they ask for
methods.py    what finds cells, by name; unet.py is a trained net
fields.py     the images, wherever they come from
run.py        the whole way: reads, segments, writes, resumes
outputs.py    the files of a field, and the csv of all
progress.py   which fields are done

Importing this starts no JAX.
"""
