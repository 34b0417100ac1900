"""Ten recorded runs, five of them faulty, as a new user sees them first: screens apart from answers."""
