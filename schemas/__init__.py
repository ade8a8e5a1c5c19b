"""What travels on the topics: models, codec and topic catalogue. It imports nothing from `streams`.

decoding    authority.py decides what is valid, by the models in events.py; fast.py decodes plain events, hotpath.py chooses between
            it and the compiled _scanner.pyx; cloudevents.py, strict_json.py, wrappers.py, sentences.py (what is wrong, in words),
            texts.py, instants.py, pools.py; the result is in facts.py
topics      topics.py, their values: outputs.py, rows.py; bytes ↔ values: codec.py
internal    counts.py, source_hours.py, changelog.py, memory.py (of the totals), questions.py (totals → ledger), told.py (ledger →
            ledger), notes.py (of operators)
documents   export.py, asyncapi.py, compatibility.py
helpers     partitioner.py, vectors.py; messages.py (lines that can be translated); _packed.pxi is included by the compiled modules that read and write packed events
"""
