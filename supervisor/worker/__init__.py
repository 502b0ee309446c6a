"""The child's side: everything here runs in a worker process, never in the supervisor."""
