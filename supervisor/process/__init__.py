"""Forked workers: the fork server, forking, watching, and what the kernel knows of them."""
