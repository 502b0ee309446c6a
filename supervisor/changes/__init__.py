"""Changes of a running fleet: reload, restart, scale, pause; planned, then rolled out."""
