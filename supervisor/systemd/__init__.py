"""The notify protocol of systemd: what to send, and the socket."""
