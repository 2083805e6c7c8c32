"""From a folder of images to a table of their cells: the whole way, for an export or a run."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hpa_jax.environment.cores import available_cores
from hpa_jax.errors import InputError
from hpa_jax.files import write_atomically
from hpa_jax.folders.results import is_page
from hpa_jax.images.prepare import Preparation
from hpa_jax.segmentation.crops import REPEAT, CropRule, parse_window
from hpa_jax.serving.predict import outputs
from hpa_jax.serving.predict.cells import page, tables
from hpa_jax.serving.predict.cells.find import open_finder
from hpa_jax.serving.predict.cells.overlays import CellOverlays
from hpa_jax.serving.predict.cells.progress_file import CellProgressFile
from hpa_jax.serving.predict.cells.request import ATTENTION, CellRequest
from hpa_jax.serving.predict.cells.scoring import FIELDS_A_GROUP, CellJob
from hpa_jax.serving.predict.net import Net
from hpa_jax.serving.predict.notes import Notes
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.run import announced_images, scored_job
from hpa_jax.serving.predict.tables.content import Content
from hpa_jax.serving.served import default_batch

_MOST_LINES = 10


def predict_cells(request: Request, open_net: Callable[[], Net]) -> None:
    """Scores the cells of the images of a folder and writes the tables and the page.

    A second call after a kill goes on where the first was, and writes the same bytes.

    Args:
      request: what is asked for; `request.cells` is there.
      open_net: makes the net; called once nothing else is wrong.

    Raises:
      InputError: anything that another call or other files put right; or no image has a cell.
    """
    kind = outputs.format_of(request.out)
    outputs.check_table(request.out, kind)
    outputs.check_out(outputs.fields_path(request.out), tables.is_fields_table)
    outputs.check_out(page.page_path(request.out), is_page)
    net = open_net()
    request = replace(request, cells=replace(request.cells, pool=pool_of(request.cells, net)))
    overlays = None
    if request.overlays is not None:
        overlays = CellOverlays(request.overlays, request.images, net.description)
    job = _job(request, net, overlays, wanted_outputs(net, request.out, kind))
    with scored_job(request, job, CellProgressFile, _settings(request, job)) as progress:
        _write(request, job, kind, progress)


def wanted_outputs(net: Net, out: Path, kind: outputs.Format) -> tuple[str, ...]:
    """The outputs of the net that the tables follow from: a csv has the embedding too."""
    wanted = ["probabilities"]
    has_embeddings = kind.embeddings or out.suffix.lower() == ".csv"
    if has_embeddings and "embedding" in net.outputs:
        wanted.append("embedding")
    if ATTENTION in net.outputs:
        wanted.append(ATTENTION)
    return tuple(wanted)


def pool_of(asked: CellRequest, net: Net) -> str:
    """How scores of cells become one: as asked for, else by attention where there is some.

    Raises:
      InputError: by attention, of a net that has none.
    """
    if asked.pool == ATTENTION and ATTENTION not in net.outputs:
        raise InputError(
            f"pool={ATTENTION} is for nets that have learnt from cells (configs/cells.py, exported "
            f"by this version), and {net.name} has none; give mean or max"
        )
    return asked.pool or (ATTENTION if ATTENTION in net.outputs else "mean")


def _job(
    request: Request, net: Net, overlays: CellOverlays | None, wanted: tuple[str, ...]
) -> CellJob:
    asked = request.cells
    finder = open_finder(asked.masks)
    preparation = Preparation.from_description(net.description)
    images = announced_images(request, net, preparation)
    print(finder.about)
    return CellJob(
        images=images,
        preparation=preparation,
        net=net,
        outputs=wanted,
        batch=FIELDS_A_GROUP,
        threads=request.threads or available_cores(),
        policy=request.policy,
        pixel_size=request.pixel_size,
        overlays=overlays,
        finder=finder,
        rule=crop_rule(asked, net, preparation.size),
        skip_border=asked.skip_border,
        crops_a_batch=request.batch or default_batch(preparation.size),
    )


def crop_rule(asked: CellRequest, net: Net, size: int) -> CropRule:
    """How cells are cut out: as asked for, else as the net learned from them.

    Raises:
      InputError: neighbours are to be left where there are none.
    """
    window, keep = asked.window or REPEAT, asked.keep_neighbours
    learned = net.description.get("cells")
    if learned and asked.window is None:
        window = parse_window(learned["window"], "cells.window of model.json")
        keep = learned["keep_neighbours"]
    if keep and window == REPEAT:
        raise InputError(
            f"keep_neighbours is for a cell_window of field, box or px: {REPEAT} shows one cell"
        )
    return CropRule(size, window, keep)


def _settings(request: Request, job: CellJob) -> dict:
    """What the rows follow from besides; pooling comes afterwards."""
    return {
        "cells": job.finder.version,
        "window": job.rule.window,
        "keep_neighbours": job.rule.keep_neighbours,
        "skip_border": job.skip_border,
        "crops_a_batch": job.crops_a_batch,
    }


def _write(request: Request, job: CellJob, kind: outputs.Format, progress: CellProgressFile):
    """Writes the tables and the page, and what was left out."""
    rejects = []
    without = []
    good = cells = left_out = 0
    embedding_size = 0
    notes = Notes(job.preparation, job.images.missing)
    for row in progress.rows(len(job.images)):
        if not row.is_scored:
            rejects.append((row.id, row.file, row.reason))
            continue
        good += 1
        notes.see(row)
        cells += len(row.cells.cells)
        left_out += row.cells.left_out
        if not row.cells.cells:
            without.append(row)
        elif row.cells.embeddings is not None:
            embedding_size = row.cells.embeddings.shape[1]
    if not good:
        raise outputs.none_can_be_read(job.images.where, rejects)
    _say_without_cells(without)
    if not cells:
        raise InputError(
            f"{job.images.where}: none of {good} images has a cell to score "
            f"({job.finder.about}); {job.finder.advice}"
        )

    def scored() -> Iterator[Row]:
        return (row for row in progress.rows(len(job.images)) if row.is_scored)

    content = Content(
        description=job.net.description,
        card=job.net.card,
        net=job.net.digest,
        about=_about(request, job),
        count=cells,
        embedding_size=embedding_size,
        scored=lambda: (cell for row in scored() for cell in tables.cell_rows(row)),
        note_of=notes.of,
        extra=tables.PLACE_COLUMNS,
    )
    fields_path, shown_path = outputs.fields_path(request.out), page.page_path(request.out)
    outputs.write_rejects(request.out, rejects)
    kind.write(request.out, content)
    tables.write_fields(fields_path, content, scored(), notes.of, request.cells.pool)
    write_atomically(shown_path, page.render(content, scored(), good, job.images))
    for warning in notes.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"wrote {request.out}, {fields_path} and {shown_path}: {cells} cells of {good} images, "
        f"{len(content.names)} labels, by {job.net.backend}"
    )
    if left_out:
        print(f"cells left out since they touch the border: {left_out}")
    outputs.print_rejects(request.out, rejects)


def _about(request: Request, job: CellJob) -> dict:
    return {
        "backend": job.net.backend,
        "layout": job.images.layout,
        "missing": list(request.missing),
        "cells": {
            "from": job.finder.about,
            "window": job.rule.window,
            "keep_neighbours": job.rule.keep_neighbours,
            "skip_border": job.skip_border,
            "pool": request.cells.pool,
        },
    }


def _say_without_cells(rows: list[Row]) -> None:
    """A line for each image without a cell, up to some."""
    for row in rows[:_MOST_LINES]:
        why = ""
        if row.cells.left_out:
            why = f": all {row.cells.left_out} touch the border"
        print(f"{row.id}: no cell to score{why}", file=sys.stderr)
    if len(rows) > _MOST_LINES:
        more = len(rows) - _MOST_LINES
        print(f"... and {more} more images without a cell to score", file=sys.stderr)
