"""Training: mmengine's Runner set up from the config, and what stands around it."""
