"""Cells one by one: instance masks of a field, how good they are, and files that hold them.

Importing this starts no JAX.
"""
