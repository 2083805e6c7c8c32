"""From a folder of images to a table of scores, for an export or a run.

command.py        `predict EXPORT DIR`; run_net.py is the same for a run's own checkpoint
arguments.py      flags; request.py is what they ask for
run.py            the whole way
intake.py         opens the images, and asks what nobody can guess
net.py            what scores them
scoring.py        reads, prepares and scores; rows.py is what it finds
progress_file.py  what was done so far, on the disk
synthesis.py      missing channels, made by another net
notes.py          what differs from the training images
outputs.py        where results go; tables/ writes them
overlays.py       pictures of what the net looked at
cells/            the same for each cell of an image: `predict EXPORT DIR --cells`
similar.py        `similar EXPORT TABLE DIR`; reference.py reads the table, similar_page.py shows it

Importing this starts no JAX.
"""
