"""Bricks that two families or more are built of; they know no family."""
