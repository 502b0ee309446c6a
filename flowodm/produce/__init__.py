"""Send messages to topics: the producing half of a model."""
