"""What does a change of the fine-tuning data really do to a model?

The package is imported by every command, so it imports nothing itself.
"""

__version__ = "0.1.0"
