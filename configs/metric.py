"""Metric learning: embeddings in which images of one antibody lie close, whatever the antibody.

For one GPU or a v5e-8.

Source: the net by which the challenge's winners found training images that resemble a test image
(bestfitting, CellProfiling/HPA-competition-solutions): ResNet-50, pooled by mean and maximum, an
embedding of 512 values, ArcFace with scale 30 and margin 0.5 over 12,815 antibodies, gradients
clipped at 1, Adam. They held out images of antibodies that were learnt; here antibodies are held
out as groups, and an image's own group is never searched.
Assumed, since no source fixes them for this combination: learning rate and schedule, batches of 16
groups with 4 images each, 512 px (theirs 768).
Expected: not measured here on real data, which needs an accelerator; docs/metric.md has what
benchmarks/retrieval.py measures on synthetic images.
Cost: about 130 GFLOP per image and step, and 2 KiB of weights for each antibody.
Command: python -m hpa_jax.main --config=configs/metric.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=keras_resnet50
Where each image is its own group (Kaggle's images without the public Atlas, synthetic ones), labels
say what belongs together: --config.metric.loss=contrastive --config.metric.target=label_sets
"""

from hpa_jax.config import Augment, Checkpoint, Config, Data, Metric, Model, Optim, Train


def get_config() -> Config:
    return Config(
        data=Data(name="hpav18_512", image_size=512, batch_size=64, threads=8),
        model=Model(name="resnet50", head="arcface", dropout=0.5, stem="copy_red"),
        augment=Augment(flips=True, scale=(0.7, 1.1), shift=0.1),
        optim=Optim(name="adam", lr=3e-4, schedule="cosine_decay", clip=1.0),
        train=Train(task="metric", epochs=30.0),
        metric=Metric(loss="arcface", target="groups", images_per_group=4),
        checkpoint=Checkpoint(metric="retrieval_map"),
    )
