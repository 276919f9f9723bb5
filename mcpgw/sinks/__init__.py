"""Copies of the record for the SIEM: the log is the outbox, and each sink has a cursor in it.

Read in this order: `outbox` (what leaves), `ocsf` and `meaning` (as what), `delivery` (at least once, and how), `sift` (what is
refused for good), `cursor` (how far). `file`, `webhook`, `splunk`, `elastic`, `syslog` and `otlp` are the receivers; `exporter`
runs them all.

Import `config` for values alone; `exporter` and `backfill` load the network.
"""
