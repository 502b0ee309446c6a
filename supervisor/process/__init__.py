"""Forks and watches worker processes: the fork server, and what the kernel reports of them."""
