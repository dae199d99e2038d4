"""From records to batches on the devices."""
