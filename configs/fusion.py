"""Several finished nets as one, at 512 px: their embeddings into one small head.

Source: the study's third wish, "DenseNet with ResNet and metric learning in one". Each part is a
finished run, whose backbone stays as it is; what is learnt is a batch norm, one hidden layer and
the logits.
Assumed, since no source fixes them: width, dropout, learning rate, length.
Expected: not measured on real images; benchmarks/fusion.py has it beside each net alone and beside
the mere average of their scores, on synthetic images and on HEp-2 cells (docs/fusion.md).
Cost: the forward passes of all parts; nothing goes backward through them.
Command: python -m hpa_jax.main --config=configs/fusion.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.fusion.runs=runs/densenet121,runs/resnet50,runs/metric
after runs on the same images and splits: of configs/best_512.py, of the same with
--config.model.name=resnet50, and of metric learning; any two of them will do.
"""

from hpa_jax.config import Augment, Checkpoint, Config, Data, Evaluate, Fusion, Model, Optim, Train


def get_config() -> Config:
    return Config(
        data=Data(
            name="kaggle_512",
            image_size=512,
            batch_size=64,
            channel_mix="rgby",
            sampling="repeat_factor",
            threads=8,
        ),
        model=Model(name="fusion", head="fusion", dropout=0.5),
        augment=Augment(flips=True),
        optim=Optim(name="adamw", lr=1e-3, schedule="cosine_decay", weight_decay=1e-2, clip=1.0),
        train=Train(epochs=10.0, loss="bce", prior_bias=True),
        fusion=Fusion(width=256),
        checkpoint=Checkpoint(metric="macro_average_precision"),
        evaluate=Evaluate(tta="symmetries", fill_empty=True),
    )
