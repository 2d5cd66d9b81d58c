"""
The queue in front of a pool, as M/M/c: callers come at random, and hold times vary at random.

Sources: A. K. Erlang, "Solution of some Problems in the Theory of Probabilities of Significance in
Automatic Telephone Exchanges" (1917), for the probability of waiting; J. D. C. Little, "A Proof for
the Queuing Formula L = λW" (1961), for the load; A. O. Allen, "Probability, Statistics, and
Queueing Theory" (1978), with the approximation of Allen and Cunneen for other hold times.

In all functions, `load` is the number of connections that are in use on average, without a unit:
the rate of callers times the seconds that each holds a connection. All of it is of one pool, in one
process.
"""

from __future__ import annotations

import math
from typing import Final

MAX_SIZE: Final = 100_000
"""Connections. A pool that needs more is not computed."""


def probability_of_waiting(size: int, load: float) -> float:
    """
    Return the probability that a caller finds all connections in use, from 0 to 1: Erlang's C.

    Computed by way of Erlang's B, whose recursion is stable: B(0) = 1,
    B(k) = a B(k-1) / (k + a B(k-1)), C = c B(c) / (c - a (1 - B(c))).

    Raises ValueError if the size is below 1 or the load below 0.
    """
    if size < 1 or not load >= 0:
        raise ValueError(f"no pool has {size} connections and a load of {load}")
    if load >= size:
        return 1.0
    blocked = 1.0
    for connections in range(1, size + 1):
        blocked = load * blocked / (connections + load * blocked)
    return size * blocked / (size - load * (1.0 - blocked))


def mean_wait(size: int, load: float, hold: float, variation: float = 1.0) -> float:
    """
    Return the mean seconds that a caller waits, over all callers; infinity if the queue only grows.

    hold: the mean seconds that a caller holds a connection.
    variation: the squared coefficient of variation of the hold times; 1 for exponential ones. The
        waits of others are those of exponential ones times (1 + variation) / 2.
    """
    if load >= size:
        return math.inf
    waiting = probability_of_waiting(size, load)
    return waiting * hold / (size - load) * _factor(variation)


def wait_quantile(
    size: int, load: float, hold: float, share: float = 0.99, variation: float = 1.0
) -> float:
    """
    Return the seconds that this share of all callers does not exceed; infinity if the queue grows.

    From P(W > t) = C(c, a) exp(-(c - a) t / hold), where the exponent is divided by the factor of
    Allen and Cunneen.
    """
    if load >= size:
        return math.inf
    waiting = probability_of_waiting(size, load)
    if waiting <= 1.0 - share:
        return 0.0
    return math.log(waiting / (1.0 - share)) * hold / (size - load) * _factor(variation)


def _factor(variation: float) -> float:
    return (1.0 + variation) / 2.0
