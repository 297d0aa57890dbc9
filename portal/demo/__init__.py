"""`make demo`: the main job from sign-up to the bill, done through the web pages as a browser would.

screen   what is printed: steps, times, progress
browser  pages, forms and fields; knows nothing of this portal
stage    the portal that the demo runs on: a home, a port, processes of its own
data     the real data set, and the right answers, computed here and not by Bodo
story    the steps
"""
