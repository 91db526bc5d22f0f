"""Views: the joined result of a study, and what people and programs read of it."""
