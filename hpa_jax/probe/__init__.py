"""How much a frozen embedding knows: a small net is fitted on it, by a published protocol.

run.py         the mode: embeddings, fits, probe.json, the table
protocol.py    the protocol's numbers, each with its source
examples.py    what is probed: features by name, targets, groups, splits
files.py       the same from anyone's arrays; splits.py divides them
images.py      the same from the images of a dataset, by embedders.py and histogram.py
mlp.py         the net that is fitted; fit.py fits it, schedule.py lowers its learning rate
scoring.py     average precision with intervals, and differences between embeddings
console.py     the table
"""
