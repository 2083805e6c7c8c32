"""gs:// as people write it."""

import pytest

from hpa_jax.buckets.url import is_bucket_url, parse
from hpa_jax.errors import InputError


@pytest.mark.parametrize(
    "text, bucket, prefix",
    [
        ("gs://bucket", "bucket", ""),
        ("gs://bucket/", "bucket", ""),
        ("gs://my.bucket-1/runs/a/", "my.bucket-1", "runs/a"),
        # What pathlib leaves of it.
        ("gs:/bucket/runs", "bucket", "runs"),
        ("gs://bucket/a b/µ", "bucket", "a b/µ"),
    ],
)
def test_parts_of_a_url(text, bucket, prefix):
    found = parse(text)
    assert (found.bucket, found.prefix) == (bucket, prefix)
    assert parse(str(found)) == found


def test_names_of_files():
    assert parse("gs://bucket/run").name_of("config.json") == "run/config.json"
    assert parse("gs://bucket").name_of("config.json") == "config.json"


@pytest.mark.parametrize(
    "text",
    [
        "gs://",
        "gs://a",
        "gs://Bucket/a",
        "gs://bucket/a//b",
        "gs://bucket/../b",
        "gs://bucket/./b",
        "gs://bucket/a*",
        "gs://bucket/a#1",
        "gs://bucket/a\nb",
    ],
)
def test_what_is_refused_is_named_with_its_flag(text):
    with pytest.raises(InputError) as caught:
        parse(text, f"--workdir={text}")
    assert str(caught.value).startswith("--workdir=gs:")


def test_what_is_a_url():
    assert is_bucket_url("gs://bucket") and is_bucket_url("gs:/bucket")
    assert not is_bucket_url("gs") and not is_bucket_url("./gs:/bucket")
