"""Builders of prepared datasets. Only here is TensorFlow imported (to write TFRecords through TFDS)."""
