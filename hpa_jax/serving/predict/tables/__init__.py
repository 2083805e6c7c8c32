"""Tables of scores, a module a format.

content.py         what all of them have
csv_table.py       .csv
parquet_table.py   .parquet, with embeddings
h5ad_table.py      .h5ad, for scanpy
hdf5_file.py       a file that HDF5 can write to on a full disk
npy_table.py       .npy
"""
