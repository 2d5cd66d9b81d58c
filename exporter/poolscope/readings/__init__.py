"""What can be reported about a pool: plain values, without the code that measures them."""
