"""What happened: usage events, the vocabulary of meters, and one meaning for three token shapes."""
