"""Take messages without a loop: one, a batch, or an iteration that commits."""
