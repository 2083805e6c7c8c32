"""TFDS's own checks of a builder, on the ten images of `dummy_data/`."""

import tensorflow_datasets as tfds

from tfds_builder.hpa import hpa_dataset_builder


class HpaTest(tfds.testing.DatasetBuilderTestCase):
    """Registered, built, read back; every split has its images and no image is in two."""

    DATASET_CLASS = hpa_dataset_builder.Builder
    # `synthetic` has 4,000 images: see tests/tfds_builder.
    BUILDER_CONFIG_NAMES_TO_TEST = ["kaggle_512"]
    SPLITS = {"train": 7, "validation": 2, "test": 1}


if __name__ == "__main__":
    tfds.testing.test_main()
