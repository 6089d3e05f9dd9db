"""The networks: one file per family, the registry, the catalogue of published facts, weights."""
