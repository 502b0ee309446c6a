"""The two loops, sync and async: their threads and tasks, their end, their log."""
