"""The networks: trunk with projector and predictor (siamese), batch norm over ranks (batchnorm)."""
