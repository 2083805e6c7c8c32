"""What a training needs, before anything is rented: its real steps, compiled for TPU slices that are not there.

run.py          the plan: rows, table, plan.json
children.py     the processes that compile, and what is shown while they do
compile.py      such a process; estimate.py and measure.py make its row, steps.py what it compiles
program.py      what a compiled program says of itself, with hlo.py, loops.py, memory.py, kernels.py and mosaic.py
roofline.py, search.py, advice.py, table.py, dataset.py, topologies.py
"""

from hpa_jax.plan.run import plan

__all__ = ["plan"]
