"""Tools of the workbook on *Generalizable Adversarial Training via Spectral Normalization*."""
