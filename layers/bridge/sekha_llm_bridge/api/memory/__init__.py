"""What Sekha's memory asks of a model, in the format of v1: summaries, entities, and scores of importance."""
