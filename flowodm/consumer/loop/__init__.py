"""The two loops, sync and async, and what their runs share."""
