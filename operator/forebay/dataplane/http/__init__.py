"""HTTP/1.1 for the data plane: one server, one client, bytes in and bytes out.

Frameworks and general clients cost a gateway more than Python does (docs/data-plane.md), so both ends stand directly on asyncio
transports and the httptools parser: about 30 µs a proxied request instead of milliseconds.
"""
