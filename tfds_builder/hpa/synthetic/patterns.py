"""The 28 patterns of the protein: where in the cell, and with which texture, each label is drawn.

Those that fill a compartment or run through it are here, those made of single bodies in
`bodies.py`. A pattern is a function of the cells and a random stream that returns float32 [H, W]: 0
where the protein is not, about 1 where it is.
"""

from collections.abc import Callable

import numpy as np

from tfds_builder.hpa.synthetic import bodies
from tfds_builder.hpa.synthetic.cells import Cells
from tfds_builder.hpa.synthetic.drawing import band_noise, smooth_noise
from tfds_builder.hpa.synthetic.layout import MITOTIC

Pattern = Callable[[Cells, np.random.Generator], np.ndarray]


def _bell(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-np.square(x / width))


def _cytoplasm(cells: Cells) -> np.ndarray:
    return cells.cell * (1 - cells.nuclei)


def nucleoplasm(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    depth = np.clip(-cells.nuclear / 0.2, 0, 1)
    return cells.nuclei * (0.7 + 0.3 * depth) * (1 - 0.85 * cells.holes)


def nuclear_membrane(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    return _bell(cells.nuclear, max(1.0 / cells.diameter, 0.022))


def nuclear_speckles(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    noise = band_noise(rng, cells.size, max(0.85, 0.03 * cells.diameter))
    blobs = np.clip(noise * 1.5 - 0.4, 0, 1)
    return cells.nuclei * (1 - cells.holes) * blobs


def endoplasmic_reticulum(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    lace = np.abs(band_noise(rng, cells.size, max(0.9, 0.02 * cells.diameter)))
    near_nucleus = np.exp(-np.maximum(cells.nuclear, 0) / 0.12)
    return _cytoplasm(cells) * near_nucleus * np.clip(1.25 - 0.5 * lace, 0.2, 1.2)


def intermediate_filaments(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Wavy filaments that run around the nucleus, like a cage."""
    d = cells.diameter
    waves = smooth_noise(rng, cells.size, 0.16 * d) * 0.028 + cells.nuclear
    rings = np.clip(np.cos(waves * (2 * np.pi / 0.14)) * 1.3 - 0.3, 0, 1)
    broken = np.clip(1.1 + 0.7 * smooth_noise(rng, cells.size, 0.2 * d), 0, 1)
    return _cytoplasm(cells) * rings * broken * (cells.nuclear < 1)


def actin_filaments(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Straight parallel stress fibres across the complete cell."""
    d = cells.diameter
    grid = np.arange(cells.size, dtype=np.float32)
    angle = cells.angle.astype(np.float32)[cells.owner]
    across = grid[:, None] * np.cos(angle) - grid[None, :] * np.sin(angle)
    across += smooth_noise(rng, cells.size, 0.5 * d) * 0.02 * d
    period = max(0.125 * d, 4.2)
    return cells.cell * np.clip(np.cos(across * (2 * np.pi / period)) * 1.6 - 0.6, 0, 1)


def microtubules(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    return np.maximum(cells.microtubules, 0.5 * cells.spindle)


def organizing_center(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """An aster beside the nucleus: a spot whose glow follows the roots of the microtubules."""
    grid = np.arange(cells.size, dtype=np.float32)
    mtoc = cells.mtoc.astype(np.float32)[cells.owner]
    offset_x = grid[None, :] - mtoc[..., 0]
    offset_y = grid[:, None] - mtoc[..., 1]
    far = np.hypot(offset_x, offset_y) / cells.diameter
    interphase = (cells.kind != MITOTIC).astype(np.float32)[cells.owner] * cells.cell
    glow = np.exp(-far / 0.2) * (0.65 + 0.35 * cells.microtubules)
    return interphase * np.maximum(glow, _bell(far, 0.05))


def plasma_membrane(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    return cells.cell * _bell(cells.edge, max(1.6 / cells.diameter, 0.04))


def cell_junctions(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Only where two cells touch."""
    return cells.contact


def mitochondria(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """A maze of thick worms that fills the cytoplasm."""
    worms = np.clip(band_noise(rng, cells.size, max(1.1, 0.03 * cells.diameter)) * 2, 0, 1)
    return _cytoplasm(cells) * worms


def cytosol(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    return _cytoplasm(cells) * (1 + 0.05 * smooth_noise(rng, cells.size, 0.35 * cells.diameter))


# Pattern and brightness by label: small structures must outshine broad ones where both are present.
PATTERNS: dict[str, tuple[Pattern, float]] = {
    "Nucleoplasm": (nucleoplasm, 1.0),
    "Nuclear membrane": (nuclear_membrane, 1.5),
    "Nucleoli": (bodies.nucleoli, 1.8),
    "Nucleoli fibrillar center": (bodies.fibrillar_center, 2.8),
    "Nuclear speckles": (nuclear_speckles, 1.6),
    "Nuclear bodies": (bodies.nuclear_bodies, 2.2),
    "Endoplasmic reticulum": (endoplasmic_reticulum, 1.2),
    "Golgi apparatus": (bodies.golgi_apparatus, 1.8),
    "Peroxisomes": (bodies.peroxisomes, 1.8),
    "Endosomes": (bodies.endosomes, 1.7),
    "Lysosomes": (bodies.lysosomes, 1.7),
    "Intermediate filaments": (intermediate_filaments, 1.5),
    "Actin filaments": (actin_filaments, 1.2),
    "Focal adhesion sites": (bodies.focal_adhesion_sites, 1.7),
    "Microtubules": (microtubules, 1.3),
    "Microtubule ends": (bodies.microtubule_ends, 2.1),
    "Cytokinetic bridge": (bodies.cytokinetic_bridge, 2.4),
    "Mitotic spindle": (bodies.mitotic_spindle, 2.2),
    "Microtubule organizing center": (organizing_center, 2.0),
    "Centrosome": (bodies.centrosome, 2.4),
    "Lipid droplets": (bodies.lipid_droplets, 1.7),
    "Plasma membrane": (plasma_membrane, 1.4),
    "Cell junctions": (cell_junctions, 1.8),
    "Mitochondria": (mitochondria, 1.4),
    "Aggresome": (bodies.aggresome, 1.8),
    "Cytosol": (cytosol, 0.9),
    "Cytoplasmic bodies": (bodies.cytoplasmic_bodies, 1.9),
    "Rods & rings": (bodies.rods_and_rings, 2.1),
}
