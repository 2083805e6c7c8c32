"""Public lists by name: which antibodies are in which split, and the tables of a study."""
