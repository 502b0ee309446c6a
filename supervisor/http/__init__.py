"""The read-only HTTP server: /metrics, /healthz, /readyz, /status, /history and the page."""
