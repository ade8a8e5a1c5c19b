"""Finds single orders, and the units of a day, in what the ledger has written: its changelog, by an index that follows it.

postings.py   which chunk holds what: sorted arrays, merged by size
index.py      one partition of the changelog: chunks, words, the last marker; kept in a folder
finder.py     reads on, finds, and knows how far that is
moments.py    what the sources had at an earlier moment
story.py      what the events of an order come to, as models
"""
