"""The export of a net that fills in channels: the files of any export, with channels as its output.

forward.py      the forward pass that is exported
description.py  model.json
write.py        the files, each checked
"""
