"""What the tests and the benchmarks share: stock, requests, shoppers, and checks of the result."""
