"""What a net can learn from images.

table.py            every task, by its name
task.py             what a task is
classification.py   which labels an image has
metric.py           embeddings, near for images that belong together
"""

from hpa_jax.training.tasks.table import TASKS, check_task, make_task, task_class
from hpa_jax.training.tasks.task import Task

__all__ = ["TASKS", "Task", "check_task", "make_task", "task_class"]
