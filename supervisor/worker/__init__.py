"""The side of the child: everything here runs in a worker process, never in the supervisor."""
