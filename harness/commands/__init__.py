"""What each command does, without its arguments and without a terminal: one module per command.

`harness rescore` is in `ablate`, as it is an ablation that may not ask. What a command takes and prints is in `cli`.
"""
