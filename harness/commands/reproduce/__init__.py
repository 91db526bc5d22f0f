"""The use case behind `harness reproduce`: a record made again from itself, and compared.

recorded (the study of a run), again (the fresh store and the comparison). Invariant: the store of the record is only
read.
"""

from harness.commands.reproduce.again import Reproduction, Request, reproduce

__all__ = ["Reproduction", "Request", "reproduce"]
