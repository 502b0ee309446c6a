"""What is done with a record: decode it, call its handler, recover from its failure."""
