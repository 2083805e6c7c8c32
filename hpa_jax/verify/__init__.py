"""Checks what a run or an export consists of, without building a net.

Read `run`; `seal` is for runs of older versions.
"""
