"""A hospital's folder of radiographs becomes a data set of records that names nobody.

run.py is the whole of it, from top to bottom. Reading is separate from writing: what was read of each file is
kept in a journal beside the data set until that is finished, so an interrupted run goes on where it was, and one
machine or many may do the reading.
"""
