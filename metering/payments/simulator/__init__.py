"""A Stripe that lives on loopback, for development and tests: the unchanged SDK speaks to it over HTTP.

`server.Simulator` is the way in. Every resource is a file with a `RESOURCE`, found by `calls.resources()`.
"""
