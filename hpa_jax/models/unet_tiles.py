"""An image too large for one device, through a U-Net in tiles that overlap.

Where two tiles overlap, their outputs are blended: the weight of one falls smoothly from 1 to 0 as
that of the other rises, over half of the overlap, in its middle. What lies next to a tile's own
edge has no weight at all, since the net has padded there where the image goes on. At the edges of
the image there is nothing beyond, and the weight is 1.

Design:
- tiles start at multiples of the encoder's stride. A strided net gives the same outputs for images
  that are shifted by its stride, and others for any other shift;
- the image is filled up as `UNet` does it, so that the last tile ends where the complete image
  would;
- tiles are as even as that allows, and all of one size, so that one program serves all of them;
- the host adds them up: a device holds `batch` tiles at a time, and never the image.
"""

from collections.abc import Callable

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.models.unet import STRIDE

# Of the overlap that is asked for, the part over which weights rise and fall. A quarter of it at
# each tile's own edge has no weight then.
_BLENDED = 0.5


def tiled_outputs(
    apply: Callable[[np.ndarray], dict[str, np.ndarray]],
    image: np.ndarray,
    tile: int,
    overlap: int,
    batch: int = 1,
) -> dict[str, np.ndarray]:
    """What a U-Net makes of an image, tile by tile.

    Args:
      apply: `float32 [batch, h, w, C]` to arrays `[batch, h, w, channels]` by name; jitted, it is
        compiled once for an image.
      image: `float32 [H, W, C]`, normalized, of any size.
      tile: px a side; an image that is smaller in a direction has one tile there, of its own size.
      overlap: px that neighbouring tiles share at least.
      batch: tiles at a time.

    Returns:
      `float32 [H, W, channels]` by name. An image of one tile is what `apply` gives of it.

    Raises:
      InputError: sides or overlap that are no multiples of STRIDE, or do not fit.
    """
    _check(tile, overlap, batch)
    height, width = image.shape[:2]
    below, right = -height % STRIDE, -width % STRIDE
    filled = np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")
    tile_height = min(tile, height + below)
    tile_width = min(tile, width + right)
    tops = tile_starts(height + below, tile_height, overlap)
    lefts = tile_starts(width + right, tile_width, overlap)
    rows = edge_weights(tops, tile_height, overlap)
    columns = edge_weights(lefts, tile_width, overlap)

    places = []
    for down, top in enumerate(tops):
        for across, left in enumerate(lefts):
            weight = rows[down][:, np.newaxis] * columns[across]
            places.append((top, left, weight[:, :, np.newaxis]))

    sums: dict[str, np.ndarray] = {}
    for start in range(0, len(places), batch):
        chosen = places[start : start + batch]
        tiles = []
        for top, left, _ in chosen:
            tiles.append(filled[top : top + tile_height, left : left + tile_width])
        # The last ones are as many as the others, so that no other program is compiled.
        tiles += tiles[-1:] * (batch - len(tiles))
        for name, outputs in apply(np.stack(tiles)).items():
            outputs = np.asarray(outputs, np.float32)
            if name not in sums:
                sums[name] = np.zeros((*filled.shape[:2], outputs.shape[-1]), np.float32)
            for output, (top, left, weight) in zip(outputs, chosen, strict=False):
                place = sums[name][top : top + tile_height, left : left + tile_width]
                place += weight * output
    return {name: total[:height, :width] for name, total in sums.items()}


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of a side start: the first at 0, the last so that it ends with the side.

    Args:
      length: of the side, px; a multiple of STRIDE, as all of them.
      tile: px, `length` at most.
      overlap: px that neighbours share at least; less than a tile, where there are several.
    """
    last = length - tile
    if last == 0:
        return [0]
    gaps = -(-last // (tile - overlap))
    starts = [0]
    for number in range(1, gaps + 1):
        starts.append(last * number // gaps // STRIDE * STRIDE)
    return starts


def edge_weights(starts: list[int], tile: int, overlap: int) -> list[np.ndarray]:
    """The weight of each px of a side, for each tile: the sum over the tiles is 1 everywhere.

    A smooth step, half a cosine wave, rises from 0 to 1 where a tile takes over from the one before
    it: in the middle of what both have. The weight of a tile is its own step less the next one's.

    Args:
      starts: of `tile_starts`.
      tile: px.
      overlap: px, as of `tile_starts`.

    Returns:
      `float32 [tile]` for each tile.
    """
    length = max(_BLENDED * overlap, 1)

    def step(number: int, start: int) -> np.ndarray:
        """How far tile `number` has taken over, at each px from `start` on."""
        middle = (starts[number] + starts[number - 1] + tile) / 2
        centers = start + np.arange(tile) + 0.5
        position = np.clip((centers - middle) / length + 0.5, 0, 1)
        return (1 - np.cos(np.pi * position)) / 2

    weights = []
    for number, start in enumerate(starts):
        weight = np.ones(tile)
        if number > 0:
            weight = step(number, start)
        if number + 1 < len(starts):
            weight = weight - step(number + 1, start)
        weights.append(weight.astype(np.float32))
    return weights


def _check(tile: int, overlap: int, batch: int) -> None:
    if tile < STRIDE or tile % STRIDE:
        raise InputError(f"tiles of {tile} px; give a multiple of {STRIDE} px")
    if overlap < 0 or overlap % STRIDE or overlap >= tile:
        raise InputError(
            f"an overlap of {overlap} px of tiles of {tile} px; "
            f"give a multiple of {STRIDE} px, {tile - STRIDE} at most"
        )
    if batch < 1:
        raise InputError(f"{batch} tiles at a time; give 1 or more")
