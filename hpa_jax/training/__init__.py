"""Training: the loop, its parts, and checkpoints.

Read loop.py first, then run.py and experiment.py.

loop.py                the order of things, which is a contract
run.py                 one start of a run: what it opens, and what each part of the loop does
experiment.py          data, mesh, model, optimizer and steps, each made once
components.py          those of them that need no dataset, together
parts.py               each of those from sections of the configuration
tasks/                 what a net can learn
update.py              a training step of any task
steps.py               what runs on the devices where a net learns labels
metric_steps.py        the same where it learns embeddings
state.py               the training state
evaluation_loop.py     batches of a split and one program, for every evaluation
evaluator.py           metrics between two steps; map_evaluator.py: of masks
retrieval_evaluator.py the same of embeddings
retraining.py          the backbone of a finished run, for a new head
fusion.py              which runs a fused net is made of; fusion_source.py reads theirs
vote_bank.py           its bank of training images; vote_fitter.py weighs their votes
finished_run.py        whether a run fits; backbone_reader.py reads its backbone
unlogged_steps.py      metrics of the steps since the last log line
step_memory.py         whether a step fits into memory
kept_step.py           the traced step, kept for the next start
messages.py            what the terminal shows

checkpoint.py          saves and resumes
checkpoint_reader.py   chooses and reads a checkpoint
manifest.py            the digests in it; sealing.py writes them later
array_store.py         calls Orbax
step_catalog.py        which checkpoints there are, and the best
step_folders.py        their folders
"""
