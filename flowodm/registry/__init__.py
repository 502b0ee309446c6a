"""The schema registry: its client, and what its failures mean."""
