"""What this usage costs: pure, exact, and the same for ever."""
