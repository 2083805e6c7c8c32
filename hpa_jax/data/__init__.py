"""Datasets as the builder stores them, from their files to batches.

A dataset is found and opened, and what it is and how it was made is known without its images:

catalog.py        which datasets and versions there are; opens one
metadata.py       metadata.json, and how damage shows
identity.py       digests of splits: which images they are
preparation.py    how the images were made
label_list.py     names of labels in a file
label_map.py      which labels two vocabularies have in common

One image after another, at random:

records.py        any record of the shards
shard_index.py    the index beside a shard; index_builder.py makes it
tfrecord.py       the frames of a shard, and the Examples in them
codec.py          an image inside a record: png.py or zstd_planes.py; masks.py: instance masks
dataset.py        images as a sequence

From the `data` section of a configuration to batches:

pipeline.py       opens what the section names
sampler.py        how often and in which order images are shown
group_sampler.py  the same for batches of P groups with K images each
epochs.py         what both have in common: an endless order, epoch by epoch
loader.py         reads batches, by Grain
generated.py      channels that a net has made, in the place of those of rare images

The builder's workers import this package: importing it starts no JAX.
"""
