"""From a config to what is trained: network, optimiser, batch plans, checkpoints, tracking."""
