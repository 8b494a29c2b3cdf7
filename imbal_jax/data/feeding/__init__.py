"""Batches for the train step: resident on the device, or streamed by the host."""
