"""What `params` may hold: shapes first, then rules, both tables of data.

    shapes   the table of keys and types, block by block
    forms    the small language shapes are written in, and the texts of its errors
    rules    the table of everything that depends on model, version, batch or several keys at once
    measures the figures and findings rules speak of; contents: those of messages and blocks
    schemas  the subset of JSON schema that structured output accepts

In a batch all of it is judged when a request is processed and gives an errored line; a direct call gets it as a 400.
Not here: the envelope around params (envelope.py).
"""
