"""A witness (C2SP tlog-witness): run by those who audit the log's operator, on a machine that he cannot reach.

It remembers one checkpoint for each log that it knows, and cosigns a newer one only if that continues it. `judge` decides,
`memory` remembers, `folder` is what its operator edits, and `server` is the HTTP around them.
"""
