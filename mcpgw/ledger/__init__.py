"""The ledger: append, prove, verify.

Read in this order: `record` (what a leaf says), `tree` and `checkpoint` (how it is sealed), `writer` (how it becomes durable).
`approvals` and `floods` are what the writer keeps beside the log, `sqlite` is the one file that knows SQL, and `verify`
trusts none of them: it reads what they stored and works with pure formats alone.
"""
