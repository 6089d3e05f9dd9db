"""Design guidelines as checks: what looks odd in a network, by which numbers, and what to try."""
