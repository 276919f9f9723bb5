"""name -> Target, pinned: what the admins' files say, joined with what upstreams offer and with what was accepted.

`load` reads the files, `lock` what was accepted, `publish` joins them, `registry` is the door to the corridor, `drift` tells
what differs, `watch` notices edits. `dialects` and `draft` turn a client's configuration into a catalog.
"""
