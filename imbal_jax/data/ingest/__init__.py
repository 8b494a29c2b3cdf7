"""Turns a hospital's folder of radiographs, or a public set, into a pseudonymous data set of records.

ingest.py shows the whole command from top to bottom. Reading is separate from writing: what was read is kept in a
journal beside the data set until that is finished, so an interrupted ingest resumes where it stopped, and one machine
or many may do the reading.
"""
