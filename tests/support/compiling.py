"""Programs compiled without optimization, and the errors of what they return.

These tests spend their time on compiling: optimizing takes longer than it saves.
"""

import jax
import numpy as np

QUICK = {"xla_backend_optimization_level": 0}


def compile_quickly(function, *arguments):
    """`function`, compiled for arguments like these."""
    return jax.jit(function).lower(*arguments).compile(compiler_options=QUICK)


def relative_errors(expected, found) -> np.ndarray:
    """The largest error of each array of a tree, as a fraction of the array's largest value."""
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    errors = []
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True)
    for wanted, value in pairs:
        largest = np.max(np.abs(wanted)) + 1e-9
        errors.append(np.max(np.abs(wanted - value)) / largest)
    return np.array(errors)
