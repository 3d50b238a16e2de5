"""The C++ core behind tensors: everything that knows of its module ``_core`` is here."""
