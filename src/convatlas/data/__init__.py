"""Images in: sources, decoding, transforms, deterministic sampling, the preprocessing record."""
