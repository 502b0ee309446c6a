"""All slots with their processes, what they reported, and how they ended."""
