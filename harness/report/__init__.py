"""Views: the joined result of a study, and its table, Markdown, CSV and JSON."""
