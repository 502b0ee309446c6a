"""Turn messages and record keys into bytes and back, by the serializers in a model's Settings."""
