"""The command ``imbal-jax init``: looks at one's own data and writes a config that fits them."""
