"""Trains the small demo models on procedural pictures. Nothing imports this at run time."""
