"""Proxies whose connections and answers fail when a test says so."""
