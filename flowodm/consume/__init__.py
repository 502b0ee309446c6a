"""Take messages from topics without a loop: the consuming half of a model."""
