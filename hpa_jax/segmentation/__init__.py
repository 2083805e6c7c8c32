"""Cells one by one: instance masks of a field, how good they are, and files that hold them.

instances.py    what a segmentation is
classical.py    finds cells without a trained net: nuclei.py, then cytoplasm.py; enlarge.py brings
                masks to the field's own scale
targets.py      maps of masks, which a net learns; from_maps.py makes masks of them again
stretch.py      how a field is made ready for such a net; stained.py: where it has a say at all
numbering.py    numbers without gaps; nuclei and cells that were numbered apart
measures.py     average precision and aggregated Jaccard index
label_image.py  masks as PNG and TIFF, ours and those of others; mask_folder.py finds them by Id
cell.py         a cell: its place and size; cell_table.py measures them
contours.py     polygons; geojson.py writes them for QuPath
outlines.py     a picture of a field with its cells' outlines
crops.py        a picture of each cell, for a net; bags.py: those of a field, to learn from

Importing this starts no JAX.
"""
