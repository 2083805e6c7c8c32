"""The model card of an export: README.md, for people, and for sites that show models.

evaluation.py    what the run's evaluation.json has of this checkpoint
facts.py         what a card is made from
markdown.py      texts, tables and code that stay what they are, whatever names are in them
front_matter.py  the head that Hugging Face reads
body.py          what people read
preparation.py   how images must be prepared, in words
snippets.py      how to run the net, as code
write.py         all of that together, and its check
"""
