"""The backends behind the command line: from options to served models. Files, in reading order:

loading      each backend's engine for a checkpoint directory
checkpoint   a digest of the files of a directory
"""
