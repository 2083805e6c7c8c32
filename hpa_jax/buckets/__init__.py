"""Folders of Cloud Storage (`gs://BUCKET/FOLDER`), which all else sees as local ones.

url.py          what is a URL, and what it names
client.py       objects of a bucket, read and written by name
scratch.py      where local copies lie
folder_copy.py  the local copy of a folder: what is downloaded, and when
mount.py        a folder whose local copy goes back
mounts.py       those of this process, by path
names.py        what each file of a run means for its copy in a bucket
lease.py        who trains in a folder, and which of its files count
parts.py        files that grow, as objects that do not
ranges.py       shards of a dataset, read in ranges
"""
