"""What torch asks of an operator: derivatives, batches, schemas; said once for both families."""
