"""Detection data: one file a format, the records that training and evaluation both see, the catalogue."""
