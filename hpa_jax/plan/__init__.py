"""What a training run needs, before anything is rented: its real steps, compiled for TPU slices
and GPUs that are not there.

run.py              the plan: one row per topology, the table, plan.json
compiler.py         starts the processes that compile, and shows their progress
worker.py           one such process; estimate.py and measure.py make its row, steps.py the steps
program.py          what a compiled program says about itself, and the roofline bound that follows,
                    with hlo.py, instruction_cost.py, memory.py and pallas_traffic.py
search.py           the largest batch that fits, and advice where a batch does not
table.py            rows as text
topologies.py       TPU slices and, with gpus.py, GPUs by name
"""

from hpa_jax.plan.run import plan

__all__ = ["plan"]
