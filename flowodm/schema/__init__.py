"""Schemas as files and in the registry: validating, comparing, uploading, generating models."""
