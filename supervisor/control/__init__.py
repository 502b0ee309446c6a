"""The control socket: JSON over HTTP over a Unix socket, and its client."""
