"""A net behind HTTP: `python -m hpa_jax.serving serve EXPORT`. No JAX, no training code.

command.py   flags, what is checked before the first request, the loop
limits.py    every bound: bytes, counts, seconds
listener.py  sockets, signals, the end
protocol.py  connections: a request's head has a deadline
access.py    token, Host, Origin
app.py       from a request to an answer, whatever it is: statuses, headers, metrics
routes.py    what each path answers
body.py      a request's files, as they come in
archive.py   a zip in memory
options.py   what stands behind the `?` of a request
uploads.py   which files make which images
scoring.py   from files to the rows of an answer
readers.py   threads that read images
batching.py  images that wait for the net
admission.py how many requests are worked on
metrics.py   what is counted, for Prometheus
refusal.py   what a client is told, and with which status

docs/server.md is what a user reads.
"""
