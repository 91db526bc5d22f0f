"""The engines that answer requests: one interface, several ways to run a model."""
