"""Reading checkpoints: which one is meant, and its arrays, compared with its manifest."""

import dataclasses
import sys
from typing import Any

import jax

from hpa_jax.errors import InputError
from hpa_jax.training import array_store, manifest
from hpa_jax.training.manifest import DamagedCheckpoint, Manifest
from hpa_jax.training.step_catalog import StepCatalog


class CheckpointReader(StepCatalog):
    """The checkpoints of one run, to be read. Arguments as for `StepCatalog`."""

    def choose(self, which: str) -> int:
        """The step that 'best', 'latest' or a number means.

        A latest one that is damaged is passed over, with a warning; another one than the best is
        never taken for it.

        Raises:
          InputError: there is no such checkpoint, or it is damaged; lists those there are.
        """
        steps = self.steps()
        if which == "best" and steps:
            step = self._choose_best()
        elif which == "latest" and steps:
            step = self._choose_latest()
        elif which.isdecimal() and int(which) in steps:
            step = int(which)
        else:
            there = ", ".join(map(str, steps)) or "none; train first"
            raise InputError(
                f"config.evaluate.checkpoint={which!r} is not in {self._folder}; there are: {there}"
            )
        try:
            # What is read of it next, besides arrays.
            self.metrics(step)
            self.position(step)
            self.written(step)
            self.warn_of_lost_metrics(step)
        except DamagedCheckpoint as error:
            raise self._refused(step, error) from error
        return step

    def _choose_latest(self) -> int:
        skipped = {}
        for step in reversed(self.steps()):
            try:
                self.verify(step)
            except DamagedCheckpoint as error:
                # A run that trains meanwhile removes steps.
                if self.path(step).exists():
                    skipped[step] = str(error)
                continue
            if skipped:
                warn(f"{self.passed_over(skipped)}; step {step} is read instead")
            return step
        raise self.none_is_complete(skipped)

    def _choose_best(self) -> int:
        """The best step, if nothing says that one that is lost was better."""
        with_metrics = ", ".join(map(str, self.ranks())) or "none"
        advice = (
            "put it back from a copy, or name a step with config.evaluate.checkpoint; complete "
            f"ones with metrics: {with_metrics}"
        )
        for step, problem in self.problems().items():
            raise InputError(
                f"which checkpoint is the best cannot be told, since {self.path(step)} is damaged "
                f"({problem}); {advice}"
            )
        lost = self.lost_best()
        if lost is not None:
            what = "without its metrics" if lost in self.steps() else "not there"
            raise InputError(f"checkpoint {self.path(lost)} was the best, and is {what}; {advice}")
        return self.best()

    def warn_of_lost_metrics(self, step: int) -> None:
        """A copy may lack the file of metrics that is there for people and older versions."""
        if not self.has_metrics_file(step):
            warn(
                f"checkpoint {self.path(step)} is without its file of metrics, or has another: "
                f"the metrics in its {manifest.FILE_NAME} are used"
            )

    def restore(self, step: int, state: Any) -> Any:
        """Reads a checkpoint into the shapes and shardings of `state` (arrays or abstract).

        A member of `state` that is None is neither looked for nor read.

        Raises:
          InputError: the checkpoint does not fit `state`, or is damaged.
        """
        try:
            return self.read(step, state)
        except DamagedCheckpoint as error:
            raise self._refused(step, error) from error

    def read(self, step: int, state: Any) -> Any:
        """As `restore`, for whoever knows what to do with a step that is damaged.

        Raises:
          DamagedCheckpoint: it is, and why.
          InputError: it does not fit `state`.
        """
        found = self.manifest(step)
        abstract = jax.tree.map(_abstract, present_members(state))
        self._check_fit(step, found, abstract)
        loaded = array_store.load(self.path(step), abstract)
        for name, array in manifest.named_leaves(loaded).items():
            if isinstance(array, jax.ShapeDtypeStruct):
                raise DamagedCheckpoint(f"{name} is missing")
            if found is not None:
                found.check(name, array)
        return dataclasses.replace(state, **loaded)

    def _check_fit(self, step: int, found: Manifest | None, abstract: dict[str, Any]) -> None:
        """Raises InputError where a run of other settings has saved the step."""
        if found is None:
            shapes = array_store.saved_shapes(self.path(step))
        else:
            shapes = {name: tuple(entry["shape"]) for name, entry in found.arrays.items()}
        for name, leaf in manifest.named_leaves(abstract).items():
            what = ""
            if name not in shapes:
                what = f"has no {name}"
            elif shapes[name] != leaf.shape:
                what = f"has {name} of shape {shapes[name]}, not {leaf.shape}"
            if what:
                raise InputError(
                    f"checkpoint {self.path(step)} {what}: it is of a run with other settings, or "
                    "of another version of hpa_jax; resume with those, or start in a new --workdir"
                )

    def verify(self, step: int) -> Manifest | None:
        """Reads every array of a step, without a net, and compares it with the manifest.

        Returns:
          The manifest; None in a run of an older version, where there is nothing to compare with.

        Raises:
          DamagedCheckpoint: the first thing that is not as it was saved.
        """
        found = self.manifest(step)
        arrays = array_store.load_on_host(self.path(step))
        if found is None:
            return None
        for name in sorted(found.arrays.keys() - arrays.keys()):
            raise DamagedCheckpoint(f"{name} is missing")
        for name, array in arrays.items():
            found.check(name, array)
        return found

    def _refused(self, step: int, error: DamagedCheckpoint) -> InputError:
        if not self.path(step).exists():
            return InputError(
                f"checkpoint {self.path(step)} is not there any more: a run that trains removes "
                "those that later ones replace; start again"
            )
        others = [str(other) for other in self.steps() if other != step]
        there = ", ".join(others) or "none"
        return InputError(
            f"checkpoint {self.path(step)} is damaged: {error}; put it back from a copy, or name "
            f"another step with config.evaluate.checkpoint; others there: {there}"
        )

    def passed_over(self, skipped: dict[int, str]) -> str:
        """Names the steps of `skipped`, the newest first, and why."""
        steps = [f"{step} ({why})" for step, why in sorted(skipped.items(), reverse=True)]
        return f"damaged checkpoints in {self._folder} are passed over: {', '.join(steps)}"

    def none_is_complete(self, skipped: dict[int, str]) -> InputError:
        """The error where every step is in `skipped`."""
        return InputError(
            f"{self.passed_over(skipped)}, and there is no other; put one back from a copy, or "
            "start in a new --workdir"
        )


def present_members(state: Any) -> dict[str, Any]:
    """The members of a state that are not None.

    Orbax would write a None down, and miss it in checkpoints that were saved without one.
    """
    members = {}
    for field in dataclasses.fields(state):
        member = getattr(state, field.name)
        if member is not None:
            members[field.name] = member
    return members


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def warn(message: str) -> None:
    """Says on stderr what a person should know, though the work goes on."""
    print(f"warning: {message}", file=sys.stderr)
