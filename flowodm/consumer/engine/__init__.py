"""The decisions of a consumer loop. Pure: no clock, no thread, no Kafka; `now` is an argument."""
