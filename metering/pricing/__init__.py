"""What things cost: the price book, its grammar, its compiler and the public price list."""
