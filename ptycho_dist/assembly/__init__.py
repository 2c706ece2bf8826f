"""From patches to one object: sums that do not depend on order, shard files, stitching."""
