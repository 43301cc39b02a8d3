"""The playground in a real browser: `make playground-test`. It needs Chromium and a built page."""
