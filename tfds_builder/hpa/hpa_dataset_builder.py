"""The TFDS builder `hpa`: images (red, green, blue, yellow) with labels, folds and groups.

Notes: images arrive here encoded. The `read` that `prepare` passes maps over worker processes;
without it (`tfds build`) images are read one by one in this process, or by an Apache Beam runner if
TFDS was given options of one. The bytes written are the same.
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

from hpa_jax.labels import HPA_2018
from tfds_builder.hpa.beam import Beam, shard_keys
from tfds_builder.hpa.build import Build, Map, Placed, Plan
from tfds_builder.hpa.configs import CONFIGS
from tfds_builder.hpa.metadata import VERSION, describe
from tfds_builder.hpa.planning import encode_arrays, plan
from tfds_builder.hpa.sources import Fault, has_masks


class _DeterministicWriter(tfds.core.ExampleWriter):
    """Writes the features of an example in one order; protobuf's own differs by process."""

    def write(self, path, examples):
        return super().write(path, self._serialized_again(examples))

    def _serialized_again(self, examples):
        for key, serialized in examples:
            example = tf_example_pb2.Example.FromString(serialized)
            yield key, example.SerializeToString(deterministic=True)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `hpa/<config>`; see README.md beside this file.

    Args:
      build: what is built; by default the configuration of this name with its default settings.
      plan: of that build, if it was made already.
      read: maps over the images.
      **kwargs: data_dir, config, version of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = {
        "3.0.0": "Original Ids; whether labels are known; digests, vocabulary and channels.",
        "2.0.0": "Folds and groups are stored; codecs.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=config.description)
        for name, config in CONFIGS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "\n".join(
        f"{name}: manual_dir holds {config.manual or 'nothing'}."
        for name, config in CONFIGS.items()
    )

    # TFDS 4.9.10 would find this out by importlib_resources, a package that it does not declare.
    code_path = epath.Path(__file__)

    def __init__(
        self,
        *,
        build: Build | None = None,
        plan: Plan | None = None,
        read: Map = map,
        **kwargs,
    ):
        self._build = build
        self._plan = plan
        self._read = read
        self._beam: Beam | None = None
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        # These descriptions are stored in features.json: they change with the dataset's version.
        image = tfds.features.Scalar(
            np.object_, doc="Channels red, green, blue, yellow; see hpa_jax/data/codec.py."
        )
        if self._build is None or self._build.codec == "png":
            image = tfds.features.Image(
                shape=(None, None, 4),
                encoding_format="png",
                doc="Channels: red, green, blue, yellow.",
            )
        vocabulary = self._build.source.vocabulary if self._build else HPA_2018
        labels = tfds.features.Sequence(
            tfds.features.ClassLabel(names=vocabulary.labels),
            doc="Where the protein is: label ids, ascending.",
        )
        features = {
            "id": tfds.features.Text(doc="Name of the image; unique in the dataset."),
            "original_id": tfds.features.Text(
                doc="The Id that the source gave the image; any characters."
            ),
            "image": image,
            "labels": labels,
            "labels_known": tfds.features.Scalar(
                np.bool_,
                doc="Whether `labels` are all labels of the image; if not, nobody knows them.",
            ),
            "fold": tfds.features.Scalar(
                np.int64, doc="0 in validation, above in train, -1 in test."
            ),
            "group": tfds.features.Scalar(
                np.int64, doc="Images of one group are never in two splits."
            ),
        }
        if self._build is not None and has_masks(self._build.source):
            features["masks"] = tfds.features.Scalar(
                np.object_,
                doc="Instance masks, 16 bits: cells, nuclei and two empty channels, encoded as "
                "the image is; see hpa_jax/data/masks.py.",
            )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            homepage="https://www.kaggle.com/c/human-protein-atlas-image-classification",
            metadata=tfds.core.MetadataDict(),
        )

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _DeterministicWriter(self.info.file_format)

    def _generate_splits(
        self, dl_manager: tfds.download.DownloadManager, download_config: Any
    ) -> Any:
        if download_config.beam_options is None:
            return super()._generate_splits(dl_manager, download_config)
        self._beam = Beam(download_config.beam_options, self.data_path / "beam")
        # `shard_keys` determines the order, the same as without Beam.
        self.info.as_proto.disable_shuffling = True
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
        measure_map = self._beam and self._beam.map
        planned = self._plan or plan(build, self._read, measure_map=measure_map)
        self.info.metadata.update(describe(build, planned))
        generate = self._generate_by_beam if self._beam else self._generate_examples
        return {split: generate(build, members) for split, members in planned.splits.items()}

    def _generate_examples(self, build: Build, members: list[Placed]) -> Iterator[tuple[str, dict]]:
        encode = functools.partial(encode_arrays, build.source, build.codec)
        encoded = self._read(encode, [placed.example for placed in members])
        for placed, arrays in zip(members, encoded, strict=True):
            yield placed.example.id, _features(placed, arrays)

    def _generate_by_beam(self, build: Build, members: list[Placed]) -> Any:
        """A PTransform in place of the generator above."""
        import apache_beam as beam

        split = members[0].split
        hasher = Hasher(split)
        keys = shard_keys([hasher.hash_key(placed.example.id) for placed in members])
        items = self._beam.items(split, zip(keys, members, strict=True))
        return items | beam.Map(functools.partial(_keyed_features, build))


def _keyed_features(build: Build, item: tuple[int, Placed]) -> tuple[int, dict]:
    key, placed = item
    try:
        arrays = encode_arrays(build.source, build.codec, placed.example)
    except Fault as fault:
        # Beam writes into an error's first argument, and may lose the others.
        raise RuntimeError(str(fault)) from None
    return key, _features(placed, arrays)


def _features(placed: Placed, arrays: dict[str, bytes]) -> dict:
    """An example as TFDS stores it; `arrays` as of `encode_arrays`."""
    example = placed.example
    return {
        "id": example.id,
        "original_id": example.original_id or example.id,
        **arrays,
        "labels": list(example.labels),
        "labels_known": example.labels_known,
        "fold": placed.fold,
        "group": placed.group,
    }
