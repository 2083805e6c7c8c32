"""What reads images starts neither JAX nor TensorFlow, nor what configures them."""

import subprocess
import sys

UNWANTED = "jax", "flax", "absl", "ml_collections", "etils", "tensorflow", "PIL", "grain"
CODE = f"""
import sys
from hpa_jax.images import channel_file, formats, image_file, store
print([name for name in {UNWANTED!r} if name in sys.modules])
"""


def test_reading_images_imports_little():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
