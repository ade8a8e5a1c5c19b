"""What each page shows, as models: a page renders one, `/api/v1` answers the same as JSON.

One module per page: its models, its parameters, and the function that makes the view from a snapshot.
"""
