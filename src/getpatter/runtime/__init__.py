"""The asyncio shell around the core: moves things, decides nothing."""
