"""What each command does, without its arguments and without a terminal: one module per command.

`harness rescore` is in `ablate`, as it is an ablation that may not ask; `harness filter` is `data.alignment` as it
stands. What a command takes and prints is in `cli`. Invariant: nothing here prints.
"""
