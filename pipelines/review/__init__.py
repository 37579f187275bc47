"""The review page: people read the audit sample in a browser, blind, and every verdict is kept at once.

One process serves one desk, so that the claims on rows can live in its memory: what must outlive it are verdicts, and
those are in the lake. Pages are made on the server and work without script; the script adds the keyboard.
"""
