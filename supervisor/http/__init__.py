"""The read-only HTTP side: /metrics, /healthz, /readyz, /status, /history and the page."""
