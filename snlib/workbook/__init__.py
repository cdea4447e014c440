"""From notebooks and records to pages: what `make workbook` and `make record` call."""
