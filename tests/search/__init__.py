"""Search in region features."""
