"""What commands share, and what one of them loads when it runs. All else in `cli` is a command."""
