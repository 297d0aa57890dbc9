"""Fetches the code of one attempt, in a process of its own: ``python -m jobs.fetching`` (see ``jobs.sources``).

A slow or huge source then holds up no worker and fills no worker's memory, and can be killed. The order comes on
standard input, so that tokens are in no process list; the outcome is a file. No Django in here.
"""
