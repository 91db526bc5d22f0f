"""The gate for new filter versions: may this version replace the one in use?

language (what may be lost), outcome (was more lost?), regression (the use case behind `harness regress`), wording and
documents (what it says). Invariant: a gate never passes a task on which a loss beyond its margin was shown.
"""
