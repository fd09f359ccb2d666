"""Exact billing and metering for AI gateways: usage events in, exact cost out."""

__version__ = "0.1.0"
