"""A net as a page that a browser shows: drop a field's files, see its labels.

sources/     the page itself: HTML, style, and plain JavaScript in small files
  engine/    reads images, prepares them and runs the net, away from the thread that draws
  app/       what is seen, and what is done with a key or a pointer
assets.py    those files, joined in their order
runtime.py   onnxruntime-web: fetched by npm, checked, cached
weights.py   the net's parameters in half as many bytes
render.py    the HTML: one file that works from disk, or the page of a server
command.py   `python -m hpa_jax.serving page EXPORT OUT.html`
"""
