"""The review page: people read the audit sample in a browser, blind, and every verdict is kept at once.

One process serves one desk, so the claims on rows are in its memory. Verdicts outlive it, so they are in the lake.
Pages are made on the server and work without script; the script adds the keyboard.
"""
