"""Proxies whose connections and answers fail on demand of a test."""
