"""Scores of runs, and what they are worth.

evaluate.py            --mode=evaluate: metrics of a run, of several, or of anyone's arrays
predict.py             --mode=predict: a table of scores and labels
predictor.py           a checkpoint that scores images
split_scores.py        its scores of a whole split, kept in the run's folder
embedding_run.py       a checkpoint that embeds images
chosen_checkpoint.py   which checkpoint that is
common_labels.py       what is told of labels that a net and the data have in common
tta.py                 test-time augmentation
grad_cam.py            where in an image a net finds a label
score_table.py         scores with all that evaluating them needs, and their file
score_arrays.py        scores, targets and groups from .npy files
ensemble.py            several runs as one classifier; ensemble_file.py keeps its weights
held_out.py            whether a run has learnt from the images it is evaluated on
acquisition.py         whether those images are of the kind it was trained on
console.py             metrics as text for the terminal, single_label_console.py where images have
                       one label each; text.py writes their numbers
"""
