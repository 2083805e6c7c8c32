"""The TFDS builder `hpa`: `id`, `image` (red, green, blue, yellow) and `labels` of each field, split by label.

Unusual: images arrive here encoded. The `read` that `prepare` passes maps over worker processes; without it (`tfds
build`) the fields are read one by one in this process. The bytes written are the same.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from hpa_jax.labels import LABELS
from tfds_builder.hpa import splits
from tfds_builder.hpa.configs import CONFIGS
from tfds_builder.hpa.sources import Field, Source, encoded


class _SameBytes(tfds.core.ExampleWriter):
    """Writes each example with its features in one order; protobuf's own order is another one in every process."""

    def write(self, path, examples):
        return super().write(
            path,
            (
                (key, tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True))
                for key, example in examples
            ),
        )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `hpa/<config>`; see README.md beside this file.

    Args:
      source: where the fields come from; by default what the configuration's name says, with its default settings.
      fields: the source's fields, where they were listed already.
      read: an ordered map, as the built-in `map`.
      **kwargs: data_dir, config, version of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=config.description) for name, config in CONFIGS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    For kaggle_512, manual_dir holds what https://www.kaggle.com/c/human-protein-atlas-image-classification/data
    hands out: `train.csv` and the unpacked `train/<Id>_{red,green,blue,yellow}.png`. synthetic needs nothing there.
    """

    # TFDS 4.9.10 would find this out by way of importlib_resources, a package that it does not declare.
    code_path = epath.Path(__file__)

    def __init__(
        self,
        *,
        source: Source | None = None,
        fields: list[Field] | None = None,
        read: Callable[[Callable, Iterable], Iterable] = map,
        **kwargs,
    ):
        self._source, self._fields, self._read = source, fields, read
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(doc="Name of the field; unique in the dataset."),
                    "image": tfds.features.Image(
                        shape=(None, None, 4), encoding_format="png", doc="Channels: red, green, blue, yellow."
                    ),
                    "labels": tfds.features.Sequence(
                        tfds.features.ClassLabel(names=LABELS),
                        doc="Where the protein is; one label or more, ascending.",
                    ),
                }
            ),
            homepage="https://www.kaggle.com/c/human-protein-atlas-image-classification",
            metadata=tfds.core.MetadataDict({"build": self._source.settings()} if self._source else {}),
        )

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _SameBytes(self.info.file_format)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        source = self._source
        if source is None:
            manual = Path(dl_manager.manual_dir) if self.builder_config.name.startswith("kaggle") else None
            source = CONFIGS[self.builder_config.name].source(manual)
            self.info.metadata["build"] = source.settings()
        fields = self._fields or source.fields()
        parts = splits.split([field.labels for field in fields], len(LABELS), source.fractions, source.seed)
        return {
            name: self._generate_examples(source, [fields[position] for position in positions])
            for name, positions in parts.items()
        }

    def _generate_examples(self, source: Source, fields: list[Field]) -> Iterator[tuple[str, dict]]:
        images = self._read(functools.partial(encoded, source), fields)
        for field, image in zip(fields, images, strict=True):
            yield field.id, {"id": field.id, "image": image, "labels": list(field.labels)}
