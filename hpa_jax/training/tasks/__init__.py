"""What a net can learn from images.

table.py            every task, by its name
task.py             what a task is
classification.py   which labels an image has
channels.py         channels from the others; channel_steps.py has its programs
cell_masks.py       which pixel belongs to which cell
"""

from hpa_jax.training.tasks.table import TASKS, check_task, make_task, task_class
from hpa_jax.training.tasks.task import Task

__all__ = ["TASKS", "Task", "check_task", "make_task", "task_class"]
