"""What people read of milestones and alerts: one place makes it, in each language, for the command line and the web view.

```
headline.py    an event as one line: date, what happened, identity
sentences.py   a milestone or alert as a sentence
dates.py       dates in words
languages.py   the languages, and how a catalogue is read
parts.py       numbers in a milestone's identity; lengths of time; ordinals
locale/        the catalogue of these sentences; that of the pages is the web view's
```
"""
