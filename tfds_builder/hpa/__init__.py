"""The `hpa` dataset: four-channel fields of the Human Protein Atlas with the labels of where the protein is."""
