"""What `roialign extract` is given in these tests."""

from __future__ import annotations

OPTIONS = ("--backbone", "efficientnet-lite0", "--image-size", 96, "--readers", 0, "--levels", "16", "--threads", 1)
SEVERAL = ("--shard-images", 5)
