"""Image files and folders of them: one reader for the builder, prediction and the server.

From a file to eight-bit values:

formats.py        which format a file has, by its first bytes: png.py, jpg.py or tiff/
foreign.py        names formats that are not read
header.py         what its header says, in the same words for every format
rule.py           which files are accepted, and what is white; checks.py compares the two
exif.py           refuses what is not upright
scale.py          values of any depth as eight bits
colour.py         which plane of a colour image holds a channel
channel_file.py   a file of one channel
image_file.py     a file with all channels
quiet.py          silences C libraries

From a folder or zip to images:

store.py          a folder or zip; nothing outside it is read
disk_folder.py    a folder on disk
zip_file.py       a zip, read without unpacking it
open_store.py     opens either
listing.py        its image files
channel_names.py  the channel's name in a file's name
layouts.py        which files make an image, found from their names
pattern.py        the same, by a pattern
field.py          reads one image of several files or one
folder.py         all of that: the images by position
flag_words.py     reasons in the words of a command line

For a net and for people:

resize.py         resizing, to a square too
square.py         the square that a net sees, and the way back
prepare.py        as the training images were prepared
false_color.py    the four channels as a picture

Neither JAX nor TensorFlow is imported here.
"""
