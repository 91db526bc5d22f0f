"""Training: estimate, launch, and the DeepSpeed worker that turns rows and a base into checkpoints."""
