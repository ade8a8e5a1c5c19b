"""Finds single orders, and the units of a day, in the ledger's changelog, through an index that follows it.

postings.py          which chunk holds what: sorted arrays, merged by size
index.py             one partition of the changelog: chunks, words, the last marker; kept in a folder
finder.py            follows the changelog, finds orders, and knows how complete the answer is
moments.py           what the sources held at an earlier moment
order_history.py     what the events of an order amount to, as models
rejected_records.py  which order, event and vehicle a rejected record names
"""
