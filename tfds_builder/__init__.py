"""Builders of prepared datasets; TensorFlow is imported here alone, to write TFRecords."""
