"""The arguments of a loop: declared, checked, and what they mean for the engine."""
