"""The export of a net that finds cells: the files of any export, with maps as their one output.

run.py          a run's checkpoint, ready to be exported
forward.py      the forward pass that is exported
description.py  model.json
write.py        the files, each checked
"""
