"""What each page shows, as models: a page renders one, `/api/v1` answers the same as JSON.

A module a page; each has its models, its parameters where it takes any, and the function that makes it of a snapshot.
"""
