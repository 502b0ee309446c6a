"""The command `check`: what a configuration means, and what is wrong, before a start."""
