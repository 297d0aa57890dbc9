"""Tests of connections to other people's services, in a process of its own (``python -m workspaces.probes``).

The process can be ended whatever it hangs in, has nothing of the portal's environment in it, and takes what the
libraries keep in memory with it. No Django in here.
"""
