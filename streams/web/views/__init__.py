"""What each page shows, as models: a page renders a model, and `/api/v1` returns the same as JSON.

One module per page: its models, its parameters, and the function that makes the view from a snapshot.
"""
