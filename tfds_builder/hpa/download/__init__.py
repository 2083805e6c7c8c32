"""Fetches the public JPGs of HPA v18, the source of the configuration `hpav18`."""
