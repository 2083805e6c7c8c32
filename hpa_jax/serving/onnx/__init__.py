"""model.onnx: the exported net for runtimes that know nothing of JAX.

build.py        the model of a run: converted, its weights chosen, checked
convert.py      a function of JAX as an ONNX model: traced, walked, simplified, written
walk.py         goes through a jaxpr, equation by equation
primitives/     what each primitive of JAX becomes
values.py       what flows between them: arrays that are known, and results of nodes
layout.py       channels first inside: which axis lies where
graph.py        nodes and constants as they are collected
folding.py      arithmetic on what is known already
simplify.py     fewer nodes that compute the same
write.py        the model as bytes, checked
weights.py      half-precision and 8-bit weights
screen.py       refuses files that would make a runtime read or run something else
session.py      runs a model with onnxruntime

Converting needs JAX and `onnx`; `screen` and `session`, which a server imports, need neither.
"""
