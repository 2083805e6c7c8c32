"""The TFDS builder `hpa`: `id`, `image` (red, green, blue, yellow), `labels`, `fold` and `group` of each field.

Unusual: images arrive here encoded. The `read` that `prepare` passes maps over worker processes; without it (`tfds
build`) the fields are read one by one in this process, or by an Apache Beam runner where TFDS was given options of one.
The bytes written are the same.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.hashing import Hasher
from tensorflow_datasets.proto import tf_example_pb2

from hpa_jax.labels import LABELS
from tfds_builder.hpa.beam import Beam, shard_keys
from tfds_builder.hpa.configs import CONFIGS
from tfds_builder.hpa.planning import Build, Map, Placed, Plan, encoded, plan
from tfds_builder.hpa.sources import Fault


class _SameBytes(tfds.core.ExampleWriter):
    """Writes each example with its features in one order; protobuf's own order is another one in every process."""

    def write(self, path, examples):
        return super().write(
            path,
            (
                (
                    key,
                    tf_example_pb2.Example.FromString(example).SerializeToString(
                        deterministic=True
                    ),
                )
                for key, example in examples
            ),
        )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `hpa/<config>`; see README.md beside this file.

    Args:
      build: what is built; by default what the configuration's name says, with its default settings.
      plan: of that build, where it was made already.
      read: over the fields.
      **kwargs: data_dir, config, version of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {"2.0.0": "Folds and groups are stored; codecs.", "1.0.0": "First release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=config.description)
        for name, config in CONFIGS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "\n".join(
        f"{name}: manual_dir holds {config.manual or 'nothing'}."
        for name, config in CONFIGS.items()
    )

    # TFDS 4.9.10 would find this out by way of importlib_resources, a package that it does not declare.
    code_path = epath.Path(__file__)

    def __init__(
        self,
        *,
        build: Build | None = None,
        plan: Plan | None = None,
        read: Map = map,
        **kwargs,
    ):
        self._build, self._plan, self._read = build, plan, read
        self._beam: Beam | None = None
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        png = tfds.features.Image(
            shape=(None, None, 4), encoding_format="png", doc="Channels: red, green, blue, yellow."
        )
        other = tfds.features.Scalar(
            np.object_, doc="Channels red, green, blue, yellow; see hpa_jax/data/codec.py."
        )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(doc="Name of the field; unique in the dataset."),
                    "image": png if self._build is None or self._build.codec == "png" else other,
                    "labels": tfds.features.Sequence(
                        tfds.features.ClassLabel(names=LABELS),
                        doc="Where the protein is; one label or more, ascending.",
                    ),
                    "fold": tfds.features.Scalar(
                        np.int64, doc="0 in validation, above in train, -1 in test."
                    ),
                    "group": tfds.features.Scalar(
                        np.int64, doc="Fields of one group are never in two parts."
                    ),
                }
            ),
            homepage="https://www.kaggle.com/c/human-protein-atlas-image-classification",
            metadata=tfds.core.MetadataDict(),
        )

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _SameBytes(self.info.file_format)

    def _generate_splits(
        self, dl_manager: tfds.download.DownloadManager, download_config: Any
    ) -> Any:
        if download_config.beam_options is None:
            return super()._generate_splits(dl_manager, download_config)
        self._beam = Beam(download_config.beam_options, self.data_path / "beam")
        self.info.as_proto.disable_shuffling = True  # shard_keys gives the order, the same as ever
        try:
            return super()._generate_splits(dl_manager, download_config)
        finally:
            self.info.as_proto.disable_shuffling = False
            self._beam.folder.rmtree(missing_ok=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        build = self._build
        if build is None:
            config = CONFIGS[self.builder_config.name]
            build = config.build(Path(dl_manager.manual_dir) if config.manual else None)
        planned = self._plan or plan(build, self._read, survey_map=self._beam and self._beam.map)
        self.info.metadata.update(build=build.settings(), statistics=planned.statistics)
        generate = self._generate_by_beam if self._beam else self._generate_examples
        return {part: generate(build, placed) for part, placed in planned.parts.items()}

    def _generate_examples(self, build: Build, placed: list[Placed]) -> Iterator[tuple[str, dict]]:
        images = self._read(
            functools.partial(encoded, build.source, build.codec), [place.field for place in placed]
        )
        for place, image in zip(placed, images, strict=True):
            yield place.field.id, _example(place, image)

    def _generate_by_beam(self, build: Build, placed: list[Placed]) -> Any:
        """A PTransform, where the above is a generator."""
        import apache_beam as beam

        part = placed[0].part
        keys = shard_keys([Hasher(part).hash_key(place.field.id) for place in placed])
        return self._beam.items(part, zip(keys, placed, strict=True)) | beam.Map(
            functools.partial(_keyed, build)
        )


def _keyed(build: Build, item: tuple[int, Placed]) -> tuple[int, dict]:
    key, place = item
    try:
        image = encoded(build.source, build.codec, place.field)
    except Fault as fault:
        raise RuntimeError(
            str(fault)
        ) from None  # Beam writes into an error's first argument, and may lose the others
    return key, _example(place, image)


def _example(place: Placed, image: bytes) -> dict:
    field = place.field
    return {
        "id": field.id,
        "image": image,
        "labels": list(field.labels),
        "fold": place.fold,
        "group": place.group,
    }
