"""Sweeps: many arms of shocks over paired seeds, with smooth sampling at equal model evaluations as their controls."""
