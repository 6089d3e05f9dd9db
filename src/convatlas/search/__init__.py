"""Proposes networks: choosing within a budget."""
