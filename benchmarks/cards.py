"""Which batch of a recipe fits on a graphics card: compiled for cards that are not there.

    python benchmarks/cards.py [--recipes=best_512,highres] [--blocks=plain,fused] [--json=FILE]

Each recipe's training step is compiled for CARD with a few images and with four times as many. What
it holds grows with the images in a line, which says the largest batch, a power of two, in the
memory that JAX's allocator takes of each card; CARD's chip stands for all of them, since what a
program holds hardly depends on the chip. Nothing runs: cuDNN's scratch memory is not in it. With
`--json` what was compiled is kept, and another call goes on with it.

The compiler is the one of `--mode=plan` (`launch/local.sh plan` installs it).
"""

import json
import math
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

PIXELS = 2**20
"""Of all images of the smaller batch."""

_UNIT = "GB"


def settings(recipe: str, block: str, images: int) -> Config:
    """The recipe for one card; normalization needs numbers, and any will do."""
    config = load_recipe(str(ROOT / "configs" / f"{recipe}.py"))
    flags = [f"--config.data.batch_size={images}", f"--config.model.block={block}"]
    config = override(config, flags)
    config.data.mean = (0.1,) * 4
    config.data.std = (0.2,) * 4
    return config


def compile_twice(recipe: str, block: str, known: dict[str, dict]) -> list[dict]:
    """The rows of two batches of a recipe, the second four times as large."""
    compilers = find_compilers([f"{CARD}:1"])
    image_size = settings(recipe, block, 1).data.image_size
    few = max(1, PIXELS // image_size**2)
    rows = []
    for images in (few, 4 * few):
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
        rows.append(known[name])
    return rows


def largest(rows: Sequence[dict], card: str) -> int:
    """Images of the largest batch, a power of two, that a card holds; 0: not one."""
    few, more = rows
    gb_per_image = (more["value"] - few["value"]) / (more["images"] - few["images"])
    fixed_gb = few["value"] - few["images"] * gb_per_image
    images = (available_bytes(f"{card}:1") / 1e9 - fixed_gb) / gb_per_image
    return 2 ** math.floor(math.log2(images)) if images >= 1 else 0


def work(flags: Namespace) -> None:
    known = {}
    if flags.json is not None and flags.json.exists():
        known = {row["name"]: row for row in json.loads(flags.json.read_text(encoding="utf-8"))}
    names = " | ".join(f"{memory} GiB" for memory in CARDS)
    lines = [f"| recipe, block | {names} | compiled |"]
    lines.append("| --- " * (len(CARDS) + 2) + "|")
    for recipe in flags.recipes.split(","):
        for block in flags.blocks.split(","):
            rows = compile_twice(recipe, block, known)
            write_rows(flags.json, list(known.values()))
            batches = " | ".join(str(largest(rows, card) or "none") for card in CARDS.values())
            sizes = ", ".join(f"{row['images']} images {row['value']:.2f} GB" for row in rows)
            lines.append(f"| `{recipe}`, `{block}` | {batches} | {sizes} |")
    print("\n".join(lines))


def main(arguments: Sequence[str]) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--recipes", default="best_512,best_1024,highres")
    parser.add_argument("--blocks", default="plain,fused")
    flags = parser.parse_args(arguments)
    return run(lambda: work(flags))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
