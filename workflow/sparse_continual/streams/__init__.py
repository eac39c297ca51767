"""Task streams: sources of items, their splits, orders and batches."""
