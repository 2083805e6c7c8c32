"""What each primitive of JAX becomes.

A rule is a function of the graph, an equation and its inputs (arrays, or outputs of nodes; at least
one of them the latter, unless the rule says otherwise) to the equation's one output; None where the
primitive is used in a way that it does not know.
"""

from hpa_jax.serving.onnx.primitives import elementwise, linear, pooling, reductions, shapes

RULES = {
    **elementwise.RULES,
    **linear.RULES,
    **pooling.RULES,
    **reductions.RULES,
    **shapes.RULES,
}

BROADCASTING = {*elementwise.RULES, "broadcast_in_dim", "iota"}
"""Those whose inputs may have axes of length 1 where the jaxpr has longer ones."""
