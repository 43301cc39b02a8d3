"""Integration with torch for both families: derivatives, batching and schemas."""
