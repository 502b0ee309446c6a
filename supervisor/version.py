"""The version that is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("flowodm-supervisor")
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION = "unknown"
