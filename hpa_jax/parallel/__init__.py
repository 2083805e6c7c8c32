"""Devices and processes.

mesh.py            the mesh of devices, and the layout of arrays on it
compile.py         devices of the CPU; the cache of compiled programs
chips.py           peak numbers of chips
memory.py          whether a program has the memory that it needs; host_memory.py for the host
cluster.py         what the environment says of other processes
join.py            how the processes of a run meet
process_group.py   what they tell each other and agree on
watchdog.py        how they notice one that is stuck or dead; group_health.py names it
preemption.py      requests to stop
shared_folder.py   whether all see the same folder
"""
