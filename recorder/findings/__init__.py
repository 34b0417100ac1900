"""Findings: what is wrong or unusual in a run, where, since when, and what to try. NumPy only: all packages share it.

`finding` defines a finding and a verdict, `facts` what rules look at, and `rule` how a rule is declared. The rules are
in `rules`, by family. `examine.Examiner` applies them to a run as it grows.
"""
