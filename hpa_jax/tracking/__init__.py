"""What a run records while it trains.

logger.py         metrics and progress, of one step
metrics_file.py   metrics.jsonl; append_file.py adds to it, completely or not at all
tracker.py        where metrics are shown; tensorboard.py writes TensorBoard's files,
                  wandb_tracker.py is Weights & Biases
throughput.py     speed, and the use of the chips
goodput.py        where the time since the first start goes
data_wait.py      how long devices wait for data
profiler.py       traces
"""
