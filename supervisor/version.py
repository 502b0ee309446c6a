"""The installed version."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("flowodm-supervisor")
except PackageNotFoundError:  # a checkout that was never installed
    VERSION = "unknown"
