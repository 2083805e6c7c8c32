"""The dataset `hpa`: four-channel images of the Human Protein Atlas and where the protein is.

A build, in its order:

__main__.py             the command line; arguments.py has its flags
configs.py              what can be built: kaggle_512, hpav18, folder, synthetic, ...
build.py                what is asked for, as plain values
sources.py              what a source is: files/ for a csv and images, synthetic/ for drawn ones;
                        download/ fetches those of HPA v18; lists/ has public splits
vocabularies.py         which labels there are
planning.py             all that is found out before anything is written, with
image_statistics.py     hashes and intensities of the images,
grouping.py             which of them belong together, and
assignment.py           their splits and folds, by split/
prepare.py              writes the dataset, completely or not at all, by
hpa_dataset_builder.py  the TFDS builder, which run_tfds.py runs
metadata.py, tables.py  the files beside the records

pool.py and beam.py spread the work over processes and over machines.
"""
