"""The dataset `hpa`: four-channel images of the Human Protein Atlas and where the protein is."""
