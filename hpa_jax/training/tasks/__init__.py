"""What a net can learn from images.

table.py            every task, by its name
task.py             what a task is
classification.py   which labels an image has
cell_masks.py       which pixel belongs to which cell
metric.py           embeddings, near for images that belong together
channels.py         channels from the others; channel_steps.py has its programs
cells.py            which labels an image's cells have, from those of the image
"""

from hpa_jax.training.tasks.table import TASKS, check_task, make_task, task_class
from hpa_jax.training.tasks.task import Task

__all__ = ["TASKS", "Task", "check_task", "make_task", "task_class"]
