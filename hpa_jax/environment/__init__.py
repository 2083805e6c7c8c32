"""What comes in from outside: the shell, the system and its errors.

paths.py           paths as people write them
flags.py           command lines
dataset_names.py   NAME and NAME:VERSION
jax_variables.py   what the shell tells JAX
cores.py           how many cores this process may use
program.py         how a program begins and ends
early_signals.py   signals while it is being imported
huge_pages.py      memory in huge pages
garbage.py         the collector of garbage, paused while a program starts
streams.py         output that nobody reads any more
causes.py          what an error of the system means, and what helps
cache_folder.py    where caches go
owner_file.py      a stand-in for a lock
sources.py         a digest of this package's source
"""
