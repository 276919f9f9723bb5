"""Where checkpoints are taken, out of the reach of whoever administers the log: one file for each kind of anchor.

`anchor` is the door, `loop` goes through it whenever the log has grown.
"""
