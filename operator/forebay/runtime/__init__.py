"""What every role needs to run: logging, health, errors."""
