"""From messages to bytes and back, by the serializer that a model's Settings name; record keys."""
