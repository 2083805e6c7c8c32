"""Which batch of a recipe fits on a graphics card: compiled for cards that are not there.

    python benchmarks/cards.py [--recipes=best_512,highres] [--blocks=plain,fused] [--json=FILE]

Each recipe's training step is compiled for CARD with powers of two of images, from what the memory
that JAX's allocator takes of the smallest card holds to what that of the largest one does not;
CARD's chip stands for all of them, since what a program holds hardly depends on the chip. Prints a
table of the largest batch on each card, and of the gigabytes of each batch. Nothing runs: cuDNN's
scratch memory is not in it. With `--json` what was compiled is kept, and another call goes on with
it.

The compiler is the one of `--mode=plan` (`launch/local.sh plan` installs it).
"""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from command_line import make_parser, run
from results import make_row, write_rows

from hpa_jax.config import Config, to_dict
from hpa_jax.plan.compiler import find_compilers, run_worker
from hpa_jax.plan.gpus import GPUS, available_bytes
from hpa_jax.recipes import load_recipe, override

ROOT = Path(__file__).resolve().parents[1]

CARD = "rtx4090"
CARDS = {8: "rtx4060", 12: "rtx3060", 16: "rtx4080", 24: "rtx4090"}
"""By their memory, GiB."""

MOST_IMAGES = 256
_FIRST_IMAGES = 8
_UNIT = "GB"


def settings(recipe: str, block: str, images: int) -> Config:
    """The recipe for one card; normalization needs numbers, and any will do."""
    config = load_recipe(str(ROOT / "configs" / f"{recipe}.py"))
    flags = [f"--config.data.batch_size={images}", f"--config.model.block={block}"]
    config = override(config, flags)
    config.data.mean = (0.1,) * 4
    config.data.std = (0.2,) * 4
    return config


def compile_batches(recipe: str, block: str, known: dict[str, dict]) -> list[dict]:
    """The rows of a recipe, by their images, from what all cards hold to what none does."""
    compilers = find_compilers([f"{CARD}:1"])
    memory = [available_bytes(f"{card}:1") / 1e9 for card in CARDS.values()]

    def compiled(images: int) -> dict:
        name = f"{recipe}, {block}, {images} images"
        if name not in known:
            request = {
                "config": to_dict(settings(recipe, block, images)),
                "topology": f"{CARD}:1",
                "steps": ["training"],
                "search": True,
            }
            found = run_worker(request, name, compilers)
            known[name] = make_row(
                name,
                found["peak_hbm_gb"],
                _UNIT,
                device=GPUS[CARD].device_kind,
                recipe=recipe,
                block=block,
                images=images,
            )
        return known[name]

    rows = [compiled(_FIRST_IMAGES)]
    while rows[0]["value"] > min(memory) and rows[0]["images"] > 1:
        rows.insert(0, compiled(rows[0]["images"] // 2))
    while rows[-1]["value"] <= max(memory) and rows[-1]["images"] < MOST_IMAGES:
        rows.append(compiled(rows[-1]["images"] * 2))
    return rows


def largest(rows: Sequence[dict], card: str) -> int:
    """Images of the largest batch that fits on a card; 0: none does."""
    available = available_bytes(f"{card}:1") / 1e9
    fitting = [row["images"] for row in rows if row["value"] <= available]
    return max(fitting, default=0)


def work(flags: Namespace) -> None:
    known = {}
    if flags.json is not None and flags.json.exists():
        known = {row["name"]: row for row in json.loads(flags.json.read_text(encoding="utf-8"))}
    names = " | ".join(f"{memory} GiB" for memory in CARDS)
    lines = [f"| recipe, block | {names} | GB by images |"]
    lines.append("| --- " * (len(CARDS) + 2) + "|")
    for recipe in flags.recipes.split(","):
        for block in flags.blocks.split(","):
            rows = compile_batches(recipe, block, known)
            write_rows(flags.json, list(known.values()))
            batches = " | ".join(str(largest(rows, card) or "none") for card in CARDS.values())
            sizes = ", ".join(f"{row['images']}: {row['value']:.1f}" for row in rows)
            lines.append(f"| `{recipe}`, `{block}` | {batches} | {sizes} |")
    print("\n".join(lines))


def main(arguments: Sequence[str]) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--recipes", default="lowres,best_512,highres,best_1024")
    parser.add_argument("--blocks", default="plain,fused")
    flags = parser.parse_args(arguments)
    return run(lambda: work(flags))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
