"""The lectures' claims, each computed by our own code and judged by one rule."""
