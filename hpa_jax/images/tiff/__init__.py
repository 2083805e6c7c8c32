"""TIFF files: tifffile parses tags, imagecodecs unpacks strips, and both are checked here.

reader.py        a file's header, and its pixels
directories.py   the tags of each page, in bounded memory
page.py          what is known of a page; parse_page.py makes it and refuses what is ambiguous
strips.py        where a page's strips or tiles are
segments.py      unpacks them
stack.py         which page and sample is which channel at which depth
ome.py           what OME-XML says of that
notes.py         what ImageJ, tifffile and LSM say of it
units.py         pixel sizes in micrometres
"""
