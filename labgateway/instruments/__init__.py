"""What instruments mean: driver.toml to Driver, and a stored message to results. Knows no mapping and no order."""
