"""The nightly job; its file names are its steps: labels, dataset, split, fit, calibrate, evaluate, gate, promote, report."""
