"""Do the nearest images have the same labels? Retrieval by embeddings, learnt and not.

    python benchmarks/retrieval.py [--folder=runs/learning] [--seeds=1] [--json=FILE] [--quick]

Every image of the test split asks, and those of all other groups are ranked by their cosine with
it; an image's own group is never among them. A hit is an image with exactly the same labels, or
with one in common: there is a table for each. Compared are

- metric nets (configs/metric.py on sets of labels), by the contrastive loss and by ArcFace;
- the classifier's embedding: the mean of the last feature map of `best` (learning_recipes.py);
- the same metric net before any training;
- histograms of the four channels.

The data, their size and the net are those of learning.py, and so is the folder: what it has trained
there is not trained again. The same command resumes where it was stopped. Intervals are for other
queries to the same images: the test images' groups are drawn with replacement.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import learning_recipes as recipes
import numpy as np
from learning_program import describe_data, make_learning_parser, run_resumable, scale_of
from learning_recipes import Run, Scale, config_flags
from learning_runs import build, run_all
from results import cpu_name, make_row, with_cores, write_rows
from tqdm import tqdm

from hpa_jax.data import pipeline
from hpa_jax.data.loader import eval_batches
from hpa_jax.environment.program import run_program
from hpa_jax.metrics.retrieval import METRICS, RELEVANCE, Retrieval, mean_metrics, retrieve
from hpa_jax.metrics.retrieval_intervals import difference, intervals
from hpa_jax.probe.embedders import Embedder, of_run, open_run
from hpa_jax.workdir import read_config

TITLES = {
    "contrastive": "metric net, contrastive over label sets",
    "arcface": "metric net, ArcFace over label sets",
    "classifier": "classifier's embedding",
    "untrained": "metric net, untrained",
    "histogram": "histograms",
}
COLUMNS = ("embedding", "mean average precision", "recall at 1", "at 5", "at 10")


class TestImages(NamedTuple):
    """The images that ask and are searched.

    Attributes:
      targets: uint8 `[N, L]`.
      groups: int64 `[N]`.
      embeddings: float32 `[N, E]` by name of TITLES, one array a seed.
    """

    targets: np.ndarray
    groups: np.ndarray
    embeddings: dict[str, list[np.ndarray]]


def metric_run(scale: Scale, seed: int, loss: str) -> Run:
    """A metric net at the scale of the learning benchmarks.

    Of batches twice as large half as many: it sees as many images as the classifier.
    """
    steps = scale.steps // 2
    data = {
        "name": scale.dataset,
        "image_size": scale.size,
        "batch_size": 2 * scale.batch,
        "threads": 2,
    }
    train = {"steps": steps, "eval_every": -(-steps // 6), "log_every": 50, "seed": seed}
    # Of few images too few agree in all labels.
    metric = {"loss": loss, "target": "label_sets", "relevance": "any_label"}
    flags = (
        *config_flags("data", data),
        *config_flags("model", {"name": scale.net, "dtype": "float32", "dropout": 0.0}),
        *config_flags("augment", {"scale": "(1.0,1.0)", "shift": 0.0}),
        *config_flags("optim", {"lr": 3e-3}),
        *config_flags("train", train),
        *config_flags("metric", metric),
        *config_flags("checkpoint", {"keep": 1}),
    )
    return Run(
        name=f"metric_{loss}_{seed}",
        program="hpa_jax.main",
        recipe="configs/metric.py",
        flags=flags,
        tta=(),
        checkpoint="best",
        scoring=(),
        steps=steps,
    )


def embed_all(runs: Path, seeds: int) -> TestImages:
    """Embeds the test split by every net of TITLES and every seed.

    Args:
      runs: the folder of the runs.
      seeds: how many of each were trained.
    """
    embeddings: dict[str, list[np.ndarray]] = {name: [] for name in TITLES}
    for seed in range(seeds):
        for name, folder in (
            ("contrastive", f"metric_contrastive_{seed}"),
            ("arcface", f"metric_arcface_{seed}"),
            ("classifier", f"best_{seed}"),
        ):
            config = read_config(runs / folder)
            trained, untrained, histogram = of_run(open_run(config, runs / folder), seed)
            dataset = pipeline.open_split(config.data, "test")
            wanted = {name: trained}
            if name == "contrastive":
                wanted["untrained"] = untrained
                if not seed:
                    wanted["histogram"] = histogram
            for title, found in embed(dataset, wanted, config.data.batch_size).items():
                embeddings[title].append(found)
    return TestImages(dataset.targets(), dataset.groups(), embeddings)


def embed(dataset, embedders: dict[str, Embedder], batch_size: int) -> dict[str, np.ndarray]:
    """Embeddings of all images, float32 `[N, E]`, by the embedders' names."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in embedders}
    with tqdm(total=len(dataset), unit="image", desc="embed", disable=None) as bar:
        for batch in eval_batches(dataset, batch_size=batch_size):
            for name, embedder in embedders.items():
                found[name].append(embedder.embed(batch["image"])[batch["mask"]])
            bar.update(int(batch["mask"].sum()))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def compare_embeddings(images: TestImages) -> list[dict]:
    """A row for each embedding, rule and metric."""
    rows = []
    for relevance in RELEVANCE:
        found = {}
        for name, of_seeds in images.embeddings.items():
            found[name] = _mean_over_seeds(images, of_seeds, relevance, TITLES[name])
        for name, retrieval in found.items():
            rows += _rows_of(name, retrieval, found["histogram"], images.groups, relevance)
    return rows


def _mean_over_seeds(
    images: TestImages, of_seeds: Sequence[np.ndarray], relevance: str, title: str
) -> Retrieval:
    """Retrieval in which each query has its mean over the seeds."""
    results = []
    for embeddings in of_seeds:
        with tqdm(total=len(embeddings), unit="query", desc=title, disable=None) as bar:
            results.append(
                retrieve(
                    embeddings,
                    images.targets,
                    images.groups,
                    relevance=relevance,
                    progress=bar.update,
                )
            )
    return Retrieval(
        np.mean([result.average_precision for result in results], axis=0),
        np.mean([result.recall for result in results], axis=0),
        results[0].relevant,
    )


def _rows_of(
    name: str, found: Retrieval, histogram: Retrieval, groups: np.ndarray, relevance: str
) -> list[dict]:
    means = mean_metrics(found)
    ends = intervals(found, groups)
    of_histogram = mean_metrics(histogram)
    above, above_ends = difference(_columns(found), _columns(histogram), groups)
    rows = []
    for number, metric in enumerate(METRICS):
        row = make_row(
            f"retrieval_{name}_{relevance}_{metric}",
            means[metric],
            metric,
            peer=TITLES["histogram"],
            peer_value=of_histogram[metric],
            device=with_cores(cpu_name()),
            title=TITLES[name],
            relevance=relevance,
            interval=ends[metric].tolist(),
            queries=means["queries"],
            above_histogram=float(above[number]),
            above_histogram_interval=above_ends[number].tolist(),
        )
        rows.append(row)
    return rows


def _columns(found: Retrieval) -> np.ndarray:
    """float64 [N, K], a column for each of METRICS."""
    return np.column_stack([found.average_precision, found.recall])


def markdown(rows: Sequence[dict]) -> str:
    """A table for each rule of what is a hit."""
    texts = []
    for relevance in RELEVANCE:
        of_rule = [row for row in rows if row["relevance"] == relevance]
        meaning = "exactly the same labels" if relevance == "same_set" else "a label in common"
        texts.append(f"a hit has {meaning}; {of_rule[0]['queries']} queries\n")
        texts.append(f"| {' | '.join(COLUMNS)} | above histograms |")
        texts.append("| --- " * (len(COLUMNS) + 1) + "|")
        for start in range(0, len(of_rule), len(METRICS)):
            texts.append(_table_line(of_rule[start : start + len(METRICS)]))
        texts.append("")
    return "\n".join(texts)


def _table_line(rows: Sequence[dict]) -> str:
    precision = rows[0]
    low, high = precision["interval"]
    cells = [precision["title"], f"{precision['value']:.3f} [{low:.3f}, {high:.3f}]"]
    for row in rows[1:]:
        cells.append(f"{row['value']:.3f}")
    above = ""
    if precision["title"] != TITLES["histogram"]:
        low, high = precision["above_histogram_interval"]
        above = f"{precision['above_histogram']:+.3f} [{low:+.3f}, {high:+.3f}]"
    cells.append(above)
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    args = make_learning_parser(__doc__, seeds=1).parse_args(argv)
    return run_resumable(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Trains what is missing, ranks, prints the tables and writes the rows."""
    scale = scale_of(args)
    folder = args.folder.resolve()
    data_dir = build(scale, folder)
    line, _ = describe_data(data_dir, scale.dataset)
    print(line, flush=True)
    runs = []
    for seed in range(args.seeds):
        runs.append(metric_run(scale, seed, "contrastive"))
        runs.append(metric_run(scale, seed, "arcface"))
        runs.append(recipes.best(scale, seed))
    run_all(runs, data_dir, folder, args.jobs)
    rows = compare_embeddings(embed_all(folder / "runs", args.seeds))
    print(f"\n{markdown(rows)}")
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
