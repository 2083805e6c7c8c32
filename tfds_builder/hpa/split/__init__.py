"""Which image goes into which split and fold.

duplicates.py    images that must stay together: near-duplicates, and images of one group
perceptual.py    what makes two images near-duplicates
candidates.py    pairs that may be, without comparing all
stratify.py      groups assigned to folds, evenly by label
rebalance.py     moves groups until that is as even as possible
evenness.py      stops a build that is not
by_column.py     splits that the csv or public lists name
sides.py         whether a group key lies in several splits of a built dataset
reference.py     splits of another dataset
"""
