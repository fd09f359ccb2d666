"""Where the money is: the chart of accounts, transfers, and the rules that turn facts into them."""
