"""From a record to its settled outcome: decode, call the handler, judge a failure."""
