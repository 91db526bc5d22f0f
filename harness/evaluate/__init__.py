"""Evaluation: tasks read by lm-eval, answers from vLLM, programs run in a sandbox, scores per item."""
