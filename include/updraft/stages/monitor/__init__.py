"""The stages of monitoring: collect → drift → performance → decide, and a report."""
