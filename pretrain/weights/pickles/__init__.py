"""Reading torch's and NumPy's pickles as data: no code that a file names is imported or run, and the work is bounded.

scan.py looks at a pickle before it is read. objects.py holds what takes the place of the objects that a pickle names,
unpickle.py puts them together. archives.py reads the files of torch.save, of all ages, and of TorchScript.
"""
