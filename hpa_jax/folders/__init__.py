"""Whose a folder or a result is, and how it is replaced: never something of somebody else.

mark.py              the mark in a folder that this program fills
replace.py           folders that are replaced as a whole
results.py           result files that would be written over
export_manifest.py   the digests by which an export proves itself
"""
