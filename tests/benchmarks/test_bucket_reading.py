"""The benchmark of reading from a bucket runs; how fast anything is, no test says."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_table(run_benchmark):
    dummy = REPOSITORY / "tfds_builder" / "hpa" / "dummy_data"
    flags = ("--images=20", "--rounds=1", "--batch=2", "--latencies", "0", "--connections", "2")
    done = run_benchmark("bucket_reading.py", f"--manual_dir={dummy}", *flags)
    assert done.returncode == 0, done.stderr
    names = ["local_disk", "bucket_0ms_2", "bucket_tls_0ms_32", "tf_data_tls_0ms_32"]
    for name in names:
        row = done.rows[f"bucket_reading_{name}"]
        assert row["value"] > 0
        assert row["second_epoch"] > 0
        assert row["cpu_ms"] > 0
        assert row["bytes_an_image"] > 300
    row = done.rows["bucket_reading_vs_tf_data_0ms"]
    assert row["ratio_to_peer"] > 0
    assert "tf.data through TensorFlow's gs://" in row["peer"]
    assert "bucket_reading_vs_tf_data_0ms" in done.stdout


def test_images_that_there_are_not(run_benchmark):
    dummy = REPOSITORY / "tfds_builder" / "hpa" / "dummy_data"
    done = run_benchmark("bucket_reading.py", f"--manual_dir={dummy}", "--images=100000")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --images=100000: ")
