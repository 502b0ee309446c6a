"""Schemas outside the program: the registry."""
