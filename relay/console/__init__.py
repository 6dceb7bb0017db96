"""The web console at `/console/`.

`application` is the aiohttp application, `wiring` builds it. Pages live in `publisher`, `operator` and `composer`; the
modules beside them are what these pages share.
"""
