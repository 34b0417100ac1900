"""The dashboard in a browser: `ltxtui serve`. Only `cli.serve` imports this package, since aiohttp is an extra."""
