"""--mode=synthesize: channels that were not imaged, made from the others, as files.

run.py        the mode: which channels of which images, by which net
images.py     the images: a split of a dataset, or a folder
filling.py    what fills in channels, and how an image goes through it
making.py     a batch at a time, what is not there yet
exported.py   an export that fills in channels
pictures.py   the PNGs, their csv, and what is there already of an earlier start
figures.py    how good they are where the truth is there, beside two baselines
"""
