"""From a folder of images to a table: the whole way, for an export or a run."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
from tqdm import tqdm

from hpa_jax.environment.cores import available_cores
from hpa_jax.files import exclusive_lock, remove_partial_files_of
from hpa_jax.images.folder import ImageFolder
from hpa_jax.images.prepare import Preparation
from hpa_jax.serving.kinds import EMBEDDINGS, LABELS, check_kind, kind_of
from hpa_jax.serving.predict import outputs
from hpa_jax.serving.predict.intake import open_images
from hpa_jax.serving.predict.net import Net, settings_digest
from hpa_jax.serving.predict.notes import Notes
from hpa_jax.serving.predict.overlays import Overlays
from hpa_jax.serving.predict.progress_file import SUFFIX, ProgressFile
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.scoring import Job, score
from hpa_jax.serving.predict.synthesis import open_synthesis
from hpa_jax.serving.predict.tables.content import SYNTHESIZED, Content
from hpa_jax.serving.served import default_batch


def predict(request: Request, open_net: Callable[[], Net]) -> None:
    """Scores the images of a folder and writes the table.

    A second call after a kill goes on where the first was, and writes the same bytes.

    Args:
      request: what is asked for.
      open_net: makes the net; called once nothing else is wrong.

    Raises:
      InputError: anything that another call or other files put right.
    """
    kind = outputs.format_of(request.out)
    outputs.check_table(request.out, kind)
    net = open_net()
    if not kind.embeddings:
        check_kind(net.description, net.name, LABELS)
    overlays = None
    if request.overlays is not None:
        overlays = Overlays(request.overlays, request.images, net.description)
    wanted = _wanted_outputs(net, kind, overlays is not None)
    with scored(request, net, wanted, overlays) as (job, progress):
        _write(request, job, kind, progress)


@contextlib.contextmanager
def scored(
    request: Request, net: Net, wanted: tuple[str, ...], overlays: Overlays | None = None
) -> Iterator[tuple[Job, ProgressFile]]:
    """Scores the images of a folder, all that are not scored yet.

    Args:
      request: what is asked for.
      net: that scores.
      wanted: outputs of the net.
      overlays: writes pictures; None: none.

    Yields:
      What was done, and the rows. They are removed when the block ends without an error.

    Raises:
      InputError: as of `predict`.
    """
    preparation = Preparation.from_description(net.description)
    synthesis = open_synthesis(request, preparation)
    others = synthesis.shown if synthesis else ()
    images = announced_images(request, net, preparation, others)
    job = Job(
        images=images,
        preparation=preparation,
        net=net,
        outputs=wanted,
        batch=request.batch or default_batch(preparation.size),
        threads=request.threads or available_cores(),
        policy=request.policy,
        pixel_size=request.pixel_size,
        overlays=overlays,
        synthesis=synthesis,
    )
    with scored_job(request, job) as progress:
        yield job, progress


def announced_images(
    request: Request, net: Net, preparation: Preparation, others: Sequence[str] = ()
) -> ImageFolder:
    """Opens the images and says what they are.

    Args:
      request: what is asked for.
      net: that scores.
      preparation: of the net.
      others: channels that are read besides those which the net sees.
    """
    images = open_images(request, preparation, others)
    print(f"{images.where}: {len(images)} images, {images.layout}")
    if not preparation.is_known:
        print(
            f"warning: {net.name} does not say how its training images were prepared (it is of an "
            "older version): these are taken as they are, and only scaled to "
            f"{preparation.size} px",
            file=sys.stderr,
        )
    return images


@contextlib.contextmanager
def scored_job(
    request: Request,
    job: Job,
    kind: type[ProgressFile] = ProgressFile,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[ProgressFile]:
    """Does a job, all of it that is not done yet.

    Args:
      request: what is asked for.
      job: what is to be done.
      kind: of progress file.
      settings: that its rows follow from, besides those of every prediction.

    Yields:
      The rows. They are removed when the block ends without an error.
    """
    # The threads that read are the parallelism: OpenCV's own would compete for the same cores.
    cv2.setNumThreads(1)
    with _progress(request, job, kind, settings or {}) as progress:
        bar = tqdm(
            total=len(job.images), unit="image", desc="predict", dynamic_ncols=True, disable=None
        )
        with bar:
            score(job, progress, bar)
        yield progress
        progress.remove()


def _wanted_outputs(net: Net, kind: outputs.Format, needs_maps: bool) -> tuple[str, ...]:
    if kind_of(net.description) == EMBEDDINGS:
        return ("embedding",)
    wanted = ["probabilities"]
    if kind.embeddings and "embedding" in net.outputs:
        wanted.append("embedding")
    if needs_maps:
        wanted.append("maps")
    return tuple(wanted)


@contextlib.contextmanager
def _progress(
    request: Request, job: Job, kind: type[ProgressFile], more: Mapping[str, Any]
) -> Iterator[ProgressFile]:
    path = request.out.with_name(f"{request.out.name}{SUFFIX}")
    settings = {
        "net": job.net.version,
        "backend": job.net.backend,
        "outputs": list(job.outputs),
        "batch": job.batch,
        "overlays": str(request.overlays),
        "missing": list(job.images.missing),
        "order": job.images.order,
        "channels": request.channels,
        "white": job.images.rule.white,
        "projection": request.projection,
        "float_range": request.float_range,
        "pixel_size": request.pixel_size,
        "ids": settings_digest(job.images.ids),
        **more,
    }
    if job.synthesis is not None:
        settings["synthesis"] = job.synthesis.version
    lock = exclusive_lock(
        path.with_name(f"{path.name}.lock"),
        busy=f"--out={request.out} is being written",
        advice="wait for it, or choose another --out",
    )
    with lock, kind(path, settings) as progress:
        for file in outputs.files_of(request.out):
            remove_partial_files_of(file)
        yield progress


def _write(request: Request, job: Job, kind: outputs.Format, progress: ProgressFile):
    """Writes the table, and what was left out."""
    count = len(job.images)

    def scored() -> Iterator[Row]:
        return (row for row in progress.rows(count) if row.is_scored)

    rejects = []
    embedding_size = 0
    good = 0
    made = job.synthesis.wanted if job.synthesis else ()
    black = [channel for channel in job.images.missing if channel not in made]
    notes = Notes(job.preparation, black)
    for row in progress.rows(count):
        if not row.is_scored:
            rejects.append((row.id, row.file, row.reason))
            continue
        good += 1
        notes.see(row)
        if row.embedding is not None:
            embedding_size = len(row.embedding)
    if not good:
        raise outputs.none_can_be_read(job.images.where, rejects)
    about = {
        "backend": job.net.backend,
        "layout": job.images.layout,
        "missing": [channel for channel in request.missing if channel not in made],
    }
    if made:
        about[SYNTHESIZED] = list(made)
    content = Content(
        description=job.net.description,
        card=job.net.card,
        net=job.net.digest,
        about=about,
        count=good,
        embedding_size=embedding_size,
        scored=scored,
        note_of=notes.of,
    )
    outputs.write_rejects(request.out, rejects)
    kind.write(request.out, content)
    for warning in notes.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    held = f"{len(content.names)} labels"
    if not content.names:
        held = f"embeddings of {embedding_size} values"
    print(f"wrote {request.out}: {good} images, {held}, by {job.net.backend}")
    outputs.print_rejects(request.out, rejects)
