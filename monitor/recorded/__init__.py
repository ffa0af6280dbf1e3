"""Recorded trainings, foreign and our own: importers, the stream format, backtest, and tuning on labelled runs."""
