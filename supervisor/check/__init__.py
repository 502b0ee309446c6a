"""The command `check`: what a configuration comes to, found out before anything starts."""
