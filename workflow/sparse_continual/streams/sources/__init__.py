"""Where the items of a stream may come from, one file each."""
