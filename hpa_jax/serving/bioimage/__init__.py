"""bioimageio.zip of an export: a package as bioimage.io and its programs read it.

cover.py        its picture, drawn
description.py  rdf.yaml
package.py      the archive, and its check
"""
