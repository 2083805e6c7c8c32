"""Cells as GeoJSON that QuPath opens: drag the file onto its image.

A FeatureCollection with a feature a cell, as QuPath's own export has it: `objectType` "cell",
`nucleusGeometry` beside `geometry`, a classification with a colour, measurements by name, and an Id
that stays the same when a field is segmented again. Coordinates are pixels from the upper left
corner of the full image.

References:
  RFC 7946, The GeoJSON format; QuPath's additions: qupath-core, QuPathTypeAdapters.java.
"""

import uuid
from typing import Any

import numpy as np
from scipy import ndimage

from hpa_jax.segmentation.cell import Cell
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.contours import Piece, contours
from hpa_jax.segmentation.instances import Instances

_COLOURS = {"Cell": (230, 159, 0), "Cell at the border": (86, 180, 233)}
_NAMESPACE = uuid.UUID("5a5b0c0e-7c0a-5f0e-9d52-3d1d6a1b7c11")


def to_geojson(instances: Instances, image_id: str) -> dict[str, Any]:
    """A field's cells as a FeatureCollection.

    Args:
      instances: of the field.
      image_id: of the field.
    """
    windows = ndimage.find_objects(instances.cells)
    features = []
    for cell in measure_cells(instances):
        window = windows[cell.cell - 1]
        features.append(_feature(instances, cell, window, image_id))
    return {"type": "FeatureCollection", "features": features}


def _feature(
    instances: Instances, cell: Cell, window: tuple[slice, slice], image_id: str
) -> dict[str, Any]:
    rows, columns = window
    left = columns.start
    top = rows.start
    kind = "Cell at the border" if cell.touches_border else "Cell"
    feature = {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{image_id}/{cell.cell}")),
        "geometry": geometry(contours(instances.cells[window] == cell.cell, left, top)),
        "properties": {
            "objectType": "cell",
            "name": f"{cell.cell}",
            "classification": {"name": kind, "color": list(_COLOURS[kind])},
            "measurements": {
                "Cell: Area px^2": cell.area_px,
                "Nucleus: Area px^2": cell.nucleus_area_px,
                "Centroid X px": cell.centroid_x,
                "Centroid Y px": cell.centroid_y,
                "Touches border": cell.touches_border,
            },
        },
    }
    nucleus = instances.nuclei[window] == cell.cell
    if nucleus.any():
        feature["nucleusGeometry"] = geometry(contours(nucleus, left, top))
    return feature


def geometry(pieces: list[Piece]) -> dict[str, Any]:
    """A Polygon, or a MultiPolygon where there are several pieces."""
    polygons = []
    for piece in pieces:
        polygons.append([_ring(piece.outline), *map(_ring, piece.holes)])
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _ring(points: np.ndarray) -> list[list[float]]:
    return np.round(points, 2).tolist()
