"""Records: one JSON file says everything about one finished cell."""
