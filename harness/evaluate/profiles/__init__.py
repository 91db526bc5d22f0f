"""Scoring profiles as pure functions that task YAML names: `!function harness.evaluate.profiles.MODULE.FUNCTION`.

Owns what a profile does with answers; which definition belongs to which task and profile says the YAML's `metadata`
(`profile`, `of`). Does not import lm_eval, and its modules do not import one another: the digest of a definition covers
the modules that its YAML names, not what these import (`harness.evaluate.programs`, which every definition that uses it
names too). Invariant: equal answers give equal scores; no program of an answer is run here.
"""
