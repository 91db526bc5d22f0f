"""Layer 2, data: from raw chats to the ordered dataset of each variant.

read -> mix -> clean -> label -> variant -> order, each a function of its inputs and a seed. Does not train
or evaluate. Invariant: no chat disappears without a `Decision` that names the reason.
"""
