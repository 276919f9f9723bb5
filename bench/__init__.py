"""Measures mcpgw beside its peers. Run by `scripts/bench`; `docs/performance.md` says what the figures mean."""
